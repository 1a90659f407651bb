package server_test

import (
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/store"
)

func TestCredentials_ThirdRevokesTheFirst(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	g := s.addGateway()
	var made []*client.CredentialWithSecret
	for range 3 {
		res := must(c.CreateCredentialWithResponse(t.Context(), g.ID))
		if res.JSON201 == nil || res.JSON201.ClientID != g.Key || res.JSON201.Username != g.Key ||
			!strings.HasPrefix(res.JSON201.Secret, "gw_") {
			t.Fatalf("got %s", res.Body)
		}
		if res.HTTPResponse.Header.Get("Cache-Control") != "no-store" {
			t.Error("the secret may be cached")
		}
		made = append(made, res.JSON201)
	}
	if !made[1].RevokedID.IsNull() || made[2].RevokedID.MustGet() != made[0].ID {
		t.Errorf("revoked: got %v and %v, want none and %d", made[1].RevokedID, made[2].RevokedID,
			made[0].ID)
	}
	if res := must(c.RevokeCredentialWithResponse(t.Context(), g.ID,
		made[1].ID)); res.StatusCode() != 204 {
		t.Errorf("revoke: got %d", res.StatusCode())
	}
	list := must(c.ListCredentialsWithResponse(t.Context(), g.ID))
	if l := *list.JSON200; len(l) != 1 || l[0].ID != made[2].ID ||
		strings.Contains(string(list.Body), "gw_") {
		t.Errorf("in force: got %s", list.Body)
	}
	for i, want := range []bool{false, false, true} {
		if _, err := s.store.Login(t.Context(), g.Key, made[i].Secret); (err == nil) != want {
			t.Errorf("secret %d lets in: got %v, want %v", i+1, err == nil, want)
		}
	}
}
