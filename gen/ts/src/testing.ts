// What tests of programs that use this package need.
export {};
