package cli

import (
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/store"
)

func TestNamesOfAUser(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		username, email, fault string
	}{
		"as they should be":       {"Zoë Ångström", "zoe@example.com", ""},
		"the longest":             {strings.Repeat("å", 50), "a@b", ""},
		"no username":             {"", "a@b", "username"},
		"a username too long":     {strings.Repeat("å", 51), "a@b", "username"},
		"space around it":         {" ada", "a@b", "username"},
		"a line break in it":      {"ada\nbob", "a@b", "username"},
		"no email":                {"ada", "ada", "email"},
		"an email of two":         {"ada", "a@b@c", "email"},
		"an email with a space":   {"ada", "a b@c", "email"},
		"an email without an end": {"ada", "a@", "email"},
		"an email too long":       {"ada", strings.Repeat("a", 99) + "@b", "email"},
	}
	for name, test := range tests {
		err := checkNames(store.User{Username: test.username, Email: test.email})
		if (err != nil) != (test.fault != "") || err != nil &&
			!strings.HasPrefix(err.Error(), test.fault) {
			t.Errorf("%s: got %v, want a fault of %q", name, err, test.fault)
		}
	}
}
