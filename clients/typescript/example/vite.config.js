import { fileURLToPath } from "node:url";

import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const checkout = (path) => fileURLToPath(new URL(path, import.meta.url));

// The page and the service are one origin to the browser, as behind any reverse proxy. The service compares `Origin` with
// `Host`, which Vite would change unless told not to.
const target = process.env.NOTIFIER_URL ?? "http://127.0.0.1:8000";
const proxy = { "/agent_backend": { target, changeOrigin: false } };

export default defineConfig({
  plugins: [react()],
  resolve: {
    // The client of this checkout. With the package installed, `resolve` is not needed.
    alias: {
      "@notifier-service/client/react.css": checkout("../react.css"),
      "@notifier-service/client/react": checkout("../src/react/index.ts"),
      "@notifier-service/client": checkout("../src/index.ts"),
    },
    dedupe: ["react", "react-dom"],
  },
  server: { proxy, fs: { allow: [".."] } },
  preview: { proxy },
});
