// Registers the service worker. Its address is the one script URL that the app itself vouches for.
interface ScriptPolicy {
  createScriptURL(url: string): string;
}
interface TrustedTypes {
  createPolicy(name: string, rules: ScriptPolicy): ScriptPolicy;
}

const ADDRESS = '/sw.js';

export async function keepShell(): Promise<void> {
  const trusted = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes;
  const policy = trusted?.createPolicy('sotto-shell', { createScriptURL: () => ADDRESS });
  try {
    await navigator.serviceWorker.register(policy?.createScriptURL('') ?? ADDRESS);
  } catch (error) {
    console.warn('Sotto cannot be started offline:', error);
  }
}
