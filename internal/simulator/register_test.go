package simulator

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestRegister_ExplainsErrors(t *testing.T) {
	problem := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	tests := map[string]struct {
		login    http.HandlerFunc
		gateways http.HandlerFunc
		want     string
	}{
		"a wrong password": {
			login: problem(401,
				`{"type":"/problems/unauthorized","title":"Unauthorized","status":401,`+
					`"detail":"no","instance":"1"}`),
			want: `wrong username or password of user "ann"`,
		},
		"something that is not OEI-MS": {
			login: func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w,
					"<html>It works!")
			},
			want: "answered 200, which is not an answer of OEI-MS; check the address",
		},
		"too many logins": {
			login: problem(429,
				`{"type":"/problems/too-many","title":"Too many `+
					`requests","status":429,"detail":"try again in 60 s","instance":"1"}`),
			want: "log in: 429 Too many requests: try again in 60 s",
		},
		"a role that is too low": {
			gateways: problem(403,
				`{"type":"/problems/forbidden","title":"Forbidden","status":403,"detail":"no",`+
					`"instance":"1"}`),
			want: `user "ann" needs the role engineer`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.login == nil {
				test.login = func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					_, _ = io.WriteString(w,
						`{"access_token":"a","refresh_token":"r","token_type":"bearer",`+
							`"expires_in":1800}`)
				}
			}
			mux := http.NewServeMux()
			mux.HandleFunc("POST /api/auth/login", test.login)
			mux.HandleFunc("POST /api/auth/logout",
				func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(http.StatusNoContent)
				})
			if test.gateways != nil {
				mux.HandleFunc("/api/gateways", test.gateways)
			}
			server := httptest.NewServer(mux)
			defer server.Close()
			checkRun(t, server.URL, test.want)
		})
	}
}

func TestRegister_NamesAnUnreachableServer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	checkRun(t, server.URL, "the server is not reachable at "+server.URL)
}

// checkRun expects Run to end soon with an error that contains want once, and no secret.
func checkRun(t *testing.T, api, want string) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.API, cfg.Username, cfg.Password, cfg.Gateways = api, "ann", "a secret word", 1
	err := Run(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err == nil || strings.Count(err.Error(), want) != 1 ||
		strings.Contains(err.Error(), cfg.Password) {
		t.Errorf("got error %v, want one with %q", err, want)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestAuthorize_RefreshesTheTokenBeforeItExpires(t *testing.T) {
	var refreshed, logins int
	mux := http.NewServeMux()
	tokens := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w,
			`{"access_token":"a","refresh_token":"r","token_type":"bearer","expires_in":0}`)
	}
	mux.HandleFunc("POST /api/auth/login",
		func(w http.ResponseWriter, _ *http.Request) { logins++; tokens(w) })
	mux.HandleFunc("POST /api/auth/refresh", func(w http.ResponseWriter, _ *http.Request) {
		if refreshed++; refreshed > 1 {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{}`)
			return
		}
		tokens(w)
	})
	mux.HandleFunc("POST /api/auth/logout",
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	server := httptest.NewServer(mux)
	defer server.Close()
	r, err := newRegistrar(Config{API: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.login(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // by the refresh token, then, since that is refused, by the password
		time.Sleep(time.Millisecond)
		if err := r.logout(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if refreshed != 2 || logins != 2 {
		t.Errorf("got %d refreshes and %d logins, want 2 and 2", refreshed, logins)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestNextCursor_ReadsTheLinkHeader(t *testing.T) {
	tests := map[string]struct{ link, want string }{
		"a next page":       {`</api/sensors?cursor=a%2Bb&limit=2>; rel="next"`, "a+b"},
		"no header":         {"", ""},
		"another relation":  {`</api/sensors?cursor=x>; rel="prev"`, ""},
		"not a link at all": {"nonsense", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := nextCursor(test.link); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestValidate_NamesEveryFault(t *testing.T) {
	err := Config{MQTT: "localhost:1883", Interval: time.Microsecond, Drain: -1}.Validate()
	for _, name := range []string{
		"--api", "--mqtt", "--username", "--password", "--prefix", "--gateways", "--sensors",
		"--per-message", "--interval", "--drain",
	} {
		if err == nil || !strings.Contains(err.Error(), name+": ") {
			t.Errorf("got %v, want a fault of %s", err, name)
		}
	}
	good := DefaultConfig()
	good.Username, good.Password = "ann", "secret"
	if err := good.Validate(); err != nil {
		t.Errorf("got %v, want none", err)
	}
}
