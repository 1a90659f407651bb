package server_test

import (
	"fmt"

	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/store"
)

// addAPIKey adds an API key with role and returns it with its secret.
func (s *system) addAPIKey(role store.Role) (k store.APIKey, secret string) {
	s.t.Helper()
	s.made++
	secret, prefix := auth.NewAPIKey()
	k, err := s.store.CreateAPIKey(s.t.Context(), store.APIKey{
		Name:      fmt.Sprintf("key %d", s.made),
		Prefix:    prefix,
		Role:      role,
		CreatedBy: new("admin"),
	}, secret)
	if err != nil {
		s.t.Fatal(err)
	}
	return k, secret
}
