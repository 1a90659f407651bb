// What the tabs of an origin tell each other about login sessions.

/** The tokens of a login session, as tabs and storages share them. */
export interface SharedTokens {
  /** Id of the login session, chosen at login. */
  id: string;
  /** How often it was refreshed: tokens of a higher turn replace those of a lower one. */
  turn: number;
  access: string;
  refresh: string;
  /** When the access token expires, in ms of this machine's clock. */
  expires: number;
  /** Validity of the access token in ms. */
  lifetime: number;
}

/** What a tab does with messages. */
export interface TabHandlers {
  /** Returns what it knows of a login session, or of the newest one. */
  answer: (id: string | undefined) => SharedTokens | undefined;
  tokens: (tokens: SharedTokens) => void;
  /** `isFinal`: by logout, so that there is no other login. */
  ended: (id: string, reason: string, isFinal: boolean) => void;
}

type Message =
  | { type: 'ask'; id: string | undefined; turn: number }
  | { type: 'tokens'; tokens: SharedTokens }
  | { type: 'ended'; id: string; reason: string; isFinal: boolean };

const answerTime = 200; // ms that other tabs have for an answer
const lockTime = 10_000; // ms after which a tab goes ahead of one that holds the lock

/** Connects the tabs of an origin that use the same server. Without a name it connects none. */
export class Tabs {
  readonly #name: string | undefined;
  readonly #channel: BroadcastChannel | undefined;
  readonly #answered = new EventTarget();

  constructor(name: string | undefined, handlers: TabHandlers) {
    this.#name = name;
    this.#channel = channelOf(name);
    if (!this.#channel) return;
    this.#channel.onmessage = ({ data }: MessageEvent<Message>) => {
      if (data.type === 'ask') {
        const tokens = handlers.answer(data.id);
        if (tokens && tokens.turn > data.turn) this.tell(tokens);
      } else if (data.type === 'ended') {
        handlers.ended(data.id, data.reason, data.isFinal);
      } else if (isSharedTokens(data.tokens)) {
        handlers.tokens(data.tokens);
        this.#answered.dispatchEvent(new Event('tokens'));
      }
    };
  }

  /** Asks the other tabs for tokens of a later turn; waits for the first answer, or some time. */
  async ask(id: string | undefined, turn: number): Promise<void> {
    if (!this.#channel) return;
    await new Promise<void>((resolve) => {
      this.#answered.addEventListener('tokens', () => resolve(), { once: true });
      setTimeout(resolve, answerTime);
      this.#post({ type: 'ask', id, turn });
    });
  }

  /** Tells the other tabs of tokens. */
  tell(tokens: SharedTokens): void {
    this.#post({ type: 'tokens', tokens });
  }

  /** Tells the other tabs that a login session has ended. */
  tellEnded(id: string, reason: string, isFinal: boolean): void {
    this.#post({ type: 'ended', id, reason, isFinal });
  }

  /** Runs work while no other tab runs its own. Without locks, as in pages without TLS, at once. */
  async exclusively<T>(work: () => Promise<T>): Promise<T> {
    const locks = globalThis.navigator?.locks as LockManager | undefined;
    if (!this.#channel || !locks) return work();
    let started = false;
    const start = () => {
      started = true;
      return work();
    };
    try {
      const signal = AbortSignal.timeout(lockTime); // ends waiting for the lock, not the work
      return await locks.request(this.#name!, { signal }, start);
    } catch (err) {
      if (started) throw err;
      return work(); // the tab with the lock is frozen
    }
  }

  /** Leaves the other tabs. */
  close(): void {
    this.#channel?.close();
  }

  #post(message: Message): void {
    try {
      this.#channel?.postMessage(message);
    } catch {
      // closed
    }
  }
}

function channelOf(name: string | undefined): BroadcastChannel | undefined {
  try {
    return name === undefined ? undefined : new BroadcastChannel(name);
  } catch {
    return undefined; // not in this environment, such as a sandboxed frame
  }
}

/** Reports whether a value from a storage or another tab has the shape of tokens. */
export function isSharedTokens(value: unknown): value is SharedTokens {
  const tokens = (value ?? {}) as Record<string, unknown>;
  return (
    ['id', 'access', 'refresh'].every((name) => typeof tokens[name] === 'string') &&
    ['turn', 'expires', 'lifetime'].every((name) => Number.isFinite(tokens[name]))
  );
}
