import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.{ts,tsx}"],
    // Far more than any test takes: what hangs, fails.
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
});
