//go:build unix

package postgres

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestServerLog_IsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postgres.log")
	log, err := openServerLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, part := range []string{"first ", "second ", "third "} {
		if _, err := log.WriteString(part); err != nil {
			t.Fatal(err)
		}
	}
	check := func(name, want string) {
		t.Helper()
		got, err := os.ReadFile(name)
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", filepath.Base(name), got, err, want)
		}
	}
	if err := log.bound(100); err != nil {
		t.Fatal(err)
	}
	check(path, "first second third ")
	if err := log.bound(6); err != nil {
		t.Fatal(err)
	}
	check(path+".1", "third ")
	if _, err := log.WriteString("fourth"); err != nil {
		t.Fatal(err)
	}
	check(path, "fourth")
}

func TestErrorsIn_IsOneLine(t *testing.T) {
	for output, want := range map[string]string{
		"2026-01-01 [1] LOG:  x\n" +
			"2026-01-01 [1] FATAL:  no room\n2026-01-01 [1] HINT:  make some\n": "FATAL: " +
			"no room; HINT: make some",
		"creating directory ... \ninitdb: error: could not create it\n": "creating " +
			"directory ...; initdb: error: could not create it",
		"1\n2\n3\n4\n": "2; 3; 4",
		"":             "",
	} {
		if got := errorsIn([]byte(output)); got != want {
			t.Errorf("%q: got %q, want %q", output, got, want)
		}
	}
	if got := errorsIn(bytes.Repeat([]byte("FATAL: x\n"), 100)); len(got) > 100 {
		t.Errorf("a hundred complaints: got %d bytes", len(got))
	}
}
