// Not the app's own build: what is tested draws nothing.
import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { include: ['test/*.test.ts'] } });
