import { defineConfig } from "vite";

export default defineConfig({
  // So that the worker of the package stays a file of its own while developing.
  optimizeDeps: { exclude: ["tidings"] },
  worker: { format: "es" },
  // A hub beside it: `cargo run --release`.
  server: { proxy: { "/.well-known/mercure": "http://localhost:8081" } },
});
