package server_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/oei-ms/oei-ms/store"
)

func TestLogin_UnknownUserLooksLikeAWrongPassword(t *testing.T) {
	s := start(t)
	s.addUser("disabled", store.Viewer, false)
	var bodies []string
	for _, username := range []string{"viewer", "nobody", "disabled", "admin' --", "viewer "} {
		before := s.passwordChecks()
		res := s.tryLogin(username, "wrong password", "X-Request-ID", "same")
		if username == "disabled" {
			res = s.tryLogin(username, password, "X-Request-ID", "same")
			before++
		}
		if res.StatusCode != 401 {
			t.Errorf("%s: got %d", username, res.StatusCode)
		}
		if got := s.passwordChecks() - before; got != 1 {
			t.Errorf("%s: got %v passwords checked, want 1", username, got)
		}
		bodies = append(bodies, string(res.body))
	}
	for _, body := range bodies {
		if body != bodies[0] {
			t.Errorf("the answers differ: %s and %s", body, bodies[0])
		}
	}
}

// passwordChecks returns how many passwords were checked so far.
func (s *system) passwordChecks() float64 {
	s.t.Helper()
	n, err := strconv.ParseFloat(s.metric("oei_password_checks_total"), 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func TestLogin_RehashesBcryptPasswords(t *testing.T) {
	s := start(t)
	old, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for name, prefix := range map[string]string{"a": "$2a$", "b": "$2b$"} {
		u := store.User{
			Username:     name,
			Email:        name,
			PasswordHash: prefix + string(old[4:]),
			Role:         store.Viewer,
			IsActive:     true,
		}
		if _, err := s.store.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		if got := s.tryLogin(name, "wrong password").StatusCode; got != 401 {
			t.Errorf("%s with a wrong password: got %d", prefix, got)
		}
		for range 2 {
			if got := s.tryLogin(name, password).StatusCode; got != 200 {
				t.Errorf("%s: got %d", prefix, got)
			}
		}
		if u, err = s.store.UserByName(t.Context(), name); err != nil ||
			!strings.HasPrefix(u.PasswordHash, "$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Errorf("%s after a login: got %.30s, %v", prefix, u.PasswordHash, err)
		}
	}
}

func TestChangePassword_EndsTheOtherSessions(t *testing.T) {
	s := start(t)
	mine, other, stranger := s.login("viewer"), s.login("viewer"), s.login("operator")
	change := func(current, next string) answer {
		return s.send("PUT", "/api/auth/me/password", mine.AccessToken,
			fmt.Sprintf(`{"current_password":%q,"new_password":%q}`, current, next))
	}
	if res := change("wrong password", "another password"); res.StatusCode != 400 ||
		!names(res, "current_password") {
		t.Errorf("with a wrong password: got %d: %s", res.StatusCode, res.body)
	}
	if res := change(password, "short"); res.StatusCode != 400 || !names(res, "new_password") {
		t.Errorf("to a short one: got %d: %s", res.StatusCode, res.body)
	}
	if got := s.me(other.AccessToken); got != 200 {
		t.Errorf("before: got %d", got)
	}
	if res := change(password, "another password"); res.StatusCode != 204 {
		t.Errorf("got %d: %s", res.StatusCode, res.body)
	}
	a, b, c := s.me(mine.AccessToken), s.me(other.AccessToken), s.me(stranger.AccessToken)
	if a != 200 || b != 401 || c != 200 {
		t.Errorf("this session, the other one, another user's: got %d, %d, %d, want 200, 401, 200",
			a, b, c)
	}
	if _, got := s.refresh(other.RefreshToken); got != 401 {
		t.Errorf("the other session's refresh: got %d, want 401", got)
	}
	if _, got := s.refresh(mine.RefreshToken); got != 200 {
		t.Errorf("this session's refresh: got %d, want 200", got)
	}
	for range 10 {
		change("wrong password", "another password")
	}
	if res := change("another password", password); res.StatusCode != 429 {
		t.Errorf("after 10 wrong ones: got %d, want 429", res.StatusCode)
	}
}
