import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The page and the service are one origin to the browser. The service compares Origin with Host, which stays as it is.
const target = process.env.NOTIFIER_URL ?? "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react()],
  server: { proxy: { "/agent_backend": { target, changeOrigin: false } } },
});
