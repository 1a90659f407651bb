package oei_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	oei "github.com/oei-ms/oei-ms/client"
)

func TestDial_RefusesWhatCannotWork(t *testing.T) {
	tests := map[string]struct {
		address string
		options []oei.Option
		want    string
	}{
		"no scheme":           {"localhost:8000", nil, "http://"},
		"a number, no scheme": {"127.0.0.1:8000", nil, "http://"},
		"another scheme":      {"ftp://localhost", nil, "http://"},
		"a password and a key": {
			"http://localhost:1",
			[]oei.Option{oei.Password("a", "b"), oei.APIKey("c")},
			"give one of",
		},
	}
	for name, tt := range tests {
		_, err := oei.Dial(t.Context(), tt.address, tt.options...)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func TestCall_ErrorOfTheContextStaysVisible(t *testing.T) {
	why := errors.New("the user has left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	_, err := oei.Dial(ctx, "http://localhost:1")
	if !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}
