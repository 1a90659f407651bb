package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/pgtest"
)

// tryLogin returns the answer to username and password.
func (s *system) tryLogin(username, password string, header ...string) answer {
	s.t.Helper()
	return s.send("POST", "/api/auth/login", "",
		fmt.Sprintf(`{"username":%q,"password":%q}`, username, password), header...)
}

// login logs username in, whose password is the one of all.
func (s *system) login(username string) client.Tokens {
	s.t.Helper()
	res, err := s.client("").LoginWithResponse(s.t.Context(),
		client.LoginRequest{Username: username, Password: password})
	if err != nil || res.JSON200 == nil {
		s.t.Fatalf("login as %s: got %v, %v", username, res, err)
	}
	return *res.JSON200
}

// refresh returns the new pair and the status.
func (s *system) refresh(token string) (client.Tokens, int) {
	s.t.Helper()
	res, err := s.client("").RefreshSessionWithResponse(s.t.Context(),
		client.RefreshRequest{RefreshToken: token})
	if err != nil {
		s.t.Fatal(err)
	}
	if res.JSON200 == nil {
		return client.Tokens{}, res.StatusCode()
	}
	return *res.JSON200, res.StatusCode()
}

// me is the status of GET /api/auth/me.
func (s *system) me(token string) int {
	s.t.Helper()
	return s.send("GET", "/api/auth/me", token, "").StatusCode
}

func TestSession_FromLoginToLogout(t *testing.T) {
	s := start(t)
	tokens := s.login("operator")
	if tokens.TokenType != "bearer" || tokens.ExpiresIn != 1800 ||
		!strings.HasPrefix(tokens.RefreshToken, "rt_") {
		t.Errorf("tokens: got %+v", tokens)
	}
	me, err := s.client(tokens.AccessToken).GetCurrentUserWithResponse(t.Context())
	if err != nil || me.JSON200 == nil || me.JSON200.Username != "operator" ||
		me.JSON200.IsSuperuser {
		t.Errorf("me: got %s, %v", me.Body, err)
	}
	next, status := s.refresh(tokens.RefreshToken)
	if status != http.StatusOK || s.me(next.AccessToken) != http.StatusOK ||
		s.me(tokens.AccessToken) != http.StatusOK {
		t.Errorf("refresh: got %d", status)
	}
	if res := s.send("POST", "/api/auth/logout", next.AccessToken,
		""); res.StatusCode != http.StatusNoContent {
		t.Errorf("logout: got %d", res.StatusCode)
	}
	if a, b := s.me(next.AccessToken), s.me(tokens.AccessToken); a != 401 || b != 401 {
		t.Errorf("after logout: got %d and %d, want 401", a, b)
	}
	if _, status := s.refresh(next.RefreshToken); status != 401 {
		t.Errorf("refresh after logout: got %d, want 401", status)
	}
}

func TestLogin_ByForm(t *testing.T) {
	s := start(t)
	const form = "application/x-www-form-urlencoded"
	tests := map[string]struct {
		kind, body string
		want       int
		field      string
	}{
		"as an OAuth2 client sends it": {
			form,
			"grant_type=password&username=viewer&password=a+password+of+tests&scope=viewer&" +
				"client_id=x&client_secret=",
			200, "",
		},
		"as Swagger UI shows it for curl": {
			form,
			"grant_type=&username=viewer&password=a+password+of+tests&scope=&client_id=&" +
				"client_secret=",
			200, "",
		},
		"with a charset": {
			form + "; charset=UTF-8", "username=viewer&password=a+password+of+tests", 200, "",
		},
		"in capitals": {
			"Application/X-WWW-Form-Urlencoded", "username=viewer&password=a+password+of+tests",
			200, "",
		},
		"with a wrong password": {form, "username=viewer&password=wrong", 401, ""},
		"without a password":    {form, "username=viewer", 400, "password"},
		"with another grant": {
			form, "grant_type=implicit&username=viewer&password=x", 400, "grant_type",
		},
		"with an unknown member": {
			form, "username=viewer&password=x&admin=1", 400, "admin",
		},
		"with a member twice": {
			form, "username=viewer&username=admin&password=x", 400, "username",
		},
		"with NUL": {
			form, "username=view%00er&password=x", 400, "username",
		},
		"with bytes that are no text": {form, "username=%ff&password=x", 400, "username"},
		"badly escaped":               {form, "username=%zz", 400, "body"},
		"empty":                       {form, "", 400, "body"},
		"JSON that says it is a form": {form, `{"username":"viewer"}`, 400, ""},
		"a form that says it is JSON": {
			"application/json", "username=viewer&password=x", 400, "body",
		},
		"another kind of JSON": {"application/json-seq", "{}", 415, ""},
		"text": {
			"text/plain", "username=viewer&password=x", 415, "",
		},
		"without saying what it is": {"", "username=viewer&password=x", 415, ""},
		"JSON in capitals": {
			"APPLICATION/JSON", `{"username":"viewer","password":"a password of tests"}`, 200, "",
		},
		"JSON with members in capitals": {
			"application/json", `{"USERNAME":"viewer","PASSWORD":"a password of tests"}`, 400,
			"USERNAME",
		},
		"parts, which no operation here takes": {
			"multipart/form-data; boundary=x", "--x--", 415, "",
		},
	}
	for name, test := range tests {
		res := s.send("POST", "/api/auth/login", "", test.body, "Content-Type", test.kind)
		if res.StatusCode != test.want || test.field != "" && !names(res, test.field) {
			t.Errorf("a form %s: got %d, want %d and %q named: %s", name, res.StatusCode, test.want,
				test.field, res.body)
		}
	}
}

// names reports whether the problem names field.
func names(res answer, field string) bool {
	return slices.ContainsFunc(res.problem().Errors, func(e client.FieldError) bool {
		return e.Field == field || strings.HasPrefix(e.Field, field+".")
	})
}

func TestRefresh_AtOnceGivesOneSuccessor(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	a, b := startOn(t, dsn), startOn(t, dsn)
	first := a.login("viewer")
	pairs := make([]client.Tokens, 50)
	var all sync.WaitGroup
	for i := range pairs {
		all.Go(func() {
			var status int
			if pairs[i], status = []*system{a, b}[i%2].refresh(first.RefreshToken); status != 200 {
				t.Errorf("refresh %d: got %d, want 200", i, status)
			}
		})
	}
	all.Wait()
	next := pairs[0].RefreshToken
	for i, pair := range pairs {
		if pair.RefreshToken != next || next == first.RefreshToken ||
			a.me(pair.AccessToken) != 200 {
			t.Errorf("refresh %d: got %q, want an access token and %q", i, pair.RefreshToken, next)
		}
	}
	c := startOn(t, dsn) // as after a restart
	if pair, status := c.refresh(first.RefreshToken); status != 200 || pair.RefreshToken != next {
		t.Errorf("after a restart: got %d and %q, want %q", status, pair.RefreshToken, next)
	}
	if strings.Contains(a.log.String()+b.log.String()+c.log.String(), "used twice") {
		t.Error("a repeated refresh was logged as the use of a stolen token")
	}
}

func TestRefresh_WithATokenWhoseSuccessorWasUsedEndsTheSession(t *testing.T) {
	s := start(t)
	first := s.login("viewer")
	second, _ := s.refresh(first.RefreshToken)
	third, status := s.refresh(second.RefreshToken)
	if status != 200 {
		t.Fatalf("second refresh: got %d", status)
	}
	if _, got := s.refresh(first.RefreshToken); got != 401 {
		t.Errorf("the first token again: got %d, want 401", got)
	}
	for i, pair := range []client.Tokens{first, second, third} {
		if got := s.me(pair.AccessToken); got != 401 {
			t.Errorf("access token %d: got %d, want 401: the session has ended", i, got)
		}
		if _, got := s.refresh(pair.RefreshToken); got != 401 {
			t.Errorf("refresh token %d: got %d, want 401", i, got)
		}
	}
	if !strings.Contains(s.log.String(), "refresh token was used twice") {
		t.Error("the log says nothing of the second use")
	}
}

func TestLogout_OtherInstanceNoticesWithinASecond(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	a, b := startOn(t, dsn), startOn(t, dsn)
	tokens := a.login("engineer")
	if got := b.me(tokens.AccessToken); got != 200 {
		t.Fatalf("before: got %d", got)
	}
	a.send("POST", "/api/auth/logout", tokens.AccessToken, "")
	within(t, 1200*time.Millisecond, "the other instance refuses the token",
		func() bool { return b.me(tokens.AccessToken) == 401 })
}

// within waits until what holds.
func within(t *testing.T, d time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}
