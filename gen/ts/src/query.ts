// Options for TanStack Query v5.
export {};
