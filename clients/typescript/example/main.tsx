import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { Page } from "./page.js";

const session = new URLSearchParams(location.search).get("session") ?? "demo";

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Page sessionId={session} />
  </StrictMode>,
);
