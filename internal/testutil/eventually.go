// Package testutil holds what tests of several packages share: waiting for a condition. It is for
// tests only.
package testutil

import (
	"testing"
	"time"
)

// Timeout is long enough for what happens soon, on a machine under load; only failures take it.
const Timeout = time.Minute

const pollInterval = 5 * time.Millisecond

// Eventually polls condition until it holds. When it does not within timeout, the test fails with
// what, which says what was waited for, and with the states that the functions describe return.
func Eventually(
	t testing.TB, timeout time.Duration, what string, condition func() bool,
	describe ...func() string,
) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !condition(); time.Sleep(pollInterval) {
		if time.Now().After(deadline) {
			for _, state := range describe {
				t.Log(state())
			}
			t.Fatalf("not within %v: %s", timeout, what)
		}
	}
}
