package server_test

import (
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/push"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

func TestAPIKey_TwoCredentialsThatDisagree(t *testing.T) {
	s := start(t)
	_, viewer := s.addAPIKey(store.Viewer)
	_, admin := s.addAPIKey(store.Admin)
	token := s.token(s.users[store.Admin])
	tests := map[string]struct {
		header []string
		want   int
	}{
		"two keys": {
			[]string{"Authorization", "Bearer " + viewer, "X-API-Key", admin}, 400,
		},
		"a token and a key": {
			[]string{"Authorization", "Bearer " + token, "X-API-Key", viewer}, 400,
		},
		"a token and no key": {[]string{"Authorization", "Bearer " + token, "X-API-Key", ""}, 400},
		"a token in both": {
			[]string{"Authorization", "Bearer " + token, "X-API-Key", token}, 200,
		},
		"a token as a key":     {[]string{"X-API-Key", token}, 401},
		"an empty key":         {[]string{"X-API-Key", ""}, 401},
		"two keys in a list":   {[]string{"X-API-Key", viewer + ", " + admin}, 401},
		"a scheme in the key":  {[]string{"X-API-Key", "Bearer " + admin}, 401},
		"a key with a space":   {[]string{"X-API-Key", admin + " x"}, 401},
		"a key in small":       {[]string{"X-API-Key", strings.ToLower(admin)}, 401},
		"a prefix":             {[]string{"X-API-Key", admin[:14]}, 401},
		"a key of 8 KiB":       {[]string{"X-API-Key", admin + strings.Repeat("A", 8<<10)}, 401},
		"a key as basic":       {[]string{"Authorization", "Basic " + admin}, 401},
		"an injection":         {[]string{"X-API-Key", "oei_' OR '1'='1"}, 401},
		"bytes that are no ID": {[]string{"X-API-Key", "oei_\xff\xfe"}, 401},
	}
	for name, tt := range tests {
		res := s.send("GET", "/api/data/rejections", "", "", tt.header...)
		if res.StatusCode != tt.want {
			t.Errorf("%s: got %d %s, want %d", name, res.StatusCode, res.body, tt.want)
		}
	}
	req := must(http.NewRequestWithContext(t.Context(), "GET", s.url+"/api/data/rejections", nil))
	req.Header["X-Api-Key"] = []string{admin, admin}
	res := must(s.http.Do(req))
	res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("the header twice: got %d, want 400", res.StatusCode)
	}
	if got := s.send("GET", "/health", "", "", "X-API-Key", "nonsense").StatusCode; got != 200 {
		t.Errorf("a public operation with a wrong key: got %d, want 200", got)
	}
	for _, secret := range []string{viewer, admin, token} {
		if strings.Contains(s.log.String(), secret) {
			t.Error("a credential is in the log")
		}
	}
}

func TestAPIKey_InTheAddressIsRefusedAndNotLogged(t *testing.T) {
	s := start(t)
	s.addSensor(s.addGateway().ID)
	_, secret := s.addAPIKey(store.Admin)
	escaped := strings.ReplaceAll(secret, "_", "%5F")
	for _, path := range []string{
		"/api/sensors?api_key=" + secret, "/api/sensors?key=" + escaped,
		"/api/sensors?" + secret, "/api/sensors/" + secret, "/api/sensors/" + escaped,
		"/ws?ticket=" + secret, "/ws?token=" + secret, "/" + secret, "/docs?x=" + secret,
		"/api/sensors?a=%zz&b=" + secret, "/health?key=" + secret,
	} {
		for _, token := range []string{"", s.token(s.users[store.Viewer])} {
			res := s.send("GET", path, token, "")
			if res.StatusCode != 400 || !strings.Contains(res.problem().Detail, "revoke it") {
				t.Errorf("%s: got %d %s", path, res.StatusCode, res.body)
			}
			if strings.Contains(string(res.body), secret[15:]) {
				t.Errorf("%s: the answer shows the key: %s", path, res.body)
			}
		}
	}
	if strings.Contains(s.log.String(), secret[15:]) {
		t.Error("the secret is in the log")
	}
}

func TestAPIKey_GuessesAreLimitedAndTellNothing(t *testing.T) {
	s := start(t)
	k, secret := s.addAPIKey(store.Viewer)
	wrong := func() string { // of a prefix that exists
		other, _ := auth.NewAPIKey()
		return k.Prefix + other[14:]
	}
	unknown, _ := auth.NewAPIKey()
	instance := regexp.MustCompile(`"instance":"[^"]*"`)
	text := func(a answer) string { return instance.ReplaceAllString(string(a.body), "") }
	a, b := s.key("/api/sensors", unknown), s.key("/api/sensors", wrong())
	if a.StatusCode != 401 || text(a) != text(b) {
		t.Errorf("an unknown prefix and a wrong secret: got %s and %s", a.body, b.body)
	}
	// A program goes on with a key that was revoked: it counts 10 times.
	last := answer{}
	for range 50 {
		last = s.key("/api/sensors", unknown)
	}
	if last.StatusCode != 429 || last.Header.Get("RateLimit-Policy") !=
		`"username";q=10;w=900, "address";q=100;w=900` {
		t.Errorf("the same wrong key 50 times: got %d %v", last.StatusCode, last.Header)
	}
	if res := s.tryLogin("viewer", password); res.StatusCode != 200 {
		t.Errorf("a user at that address: got %d", res.StatusCode)
	}
	refused := strings.Count(s.log.String(), `"api key refused"`)
	if refused > 11 {
		t.Errorf("log lines for 51 refusals: got %d", refused)
	}
	tried := 0
	for range 120 {
		if s.key("/api/sensors", wrong()).StatusCode == 401 {
			tried++
		}
	}
	if tried != 89 { // 100 less 10 and 1
		t.Errorf("different wrong keys: got %d answers 401, want 89", tried)
	}
	if res := s.key("/api/sensors", secret); res.StatusCode != 200 {
		t.Errorf("the right key from an address over the limit: got %d", res.StatusCode)
	}
	if strings.Contains(s.log.String(), unknown) {
		t.Error("a refused key is in the log")
	}
}

func TestAPIKey_LimitOfRequests(t *testing.T) {
	s := start(t, func(c *config, _ *server.Deps) { c.Auth.APIKeyRequestsPerMinute = 5 })
	k, secret := s.addAPIKey(store.Viewer)
	_, other := s.addAPIKey(store.Viewer)
	for i := range 5 {
		res := s.key("/api/sensors", secret)
		want := fmt.Sprintf(`^"api-key";r=%d;t=\d+$`, 4-i)
		if got := res.Header.Get("RateLimit"); res.StatusCode != 200 ||
			!regexp.MustCompile(want).MatchString(got) ||
			res.Header.Get("RateLimit-Policy") != `"api-key";q=5;w=60` {
			t.Errorf("request %d: got %d %q", i, res.StatusCode, got)
		}
	}
	res := s.key("/api/sensors", secret)
	if res.StatusCode != 429 || res.Header.Get("RateLimit") == "" ||
		!strings.Contains(res.problem().Detail, "limit of 5 requests per minute") {
		t.Errorf("one more: got %d %v %s", res.StatusCode, res.Header, res.body)
	}
	if got := s.key("/api/nothing", secret).StatusCode; got != 429 {
		t.Errorf("an address that does not exist: got %d, want 429", got)
	}
	if conn, res := s.dial("/ws", "X-API-Key", secret); conn != nil || res.StatusCode != 429 {
		t.Error("a WebSocket over the limit was opened")
	}
	if got := s.key("/api/sensors", other).StatusCode; got != 200 {
		t.Errorf("another key: got %d", got)
	}
	must(s.as(store.Admin).UpdateAPIKeyWithResponse(t.Context(), k.ID, nil,
		client.APIKeyUpdate{RequestsPerMinute: nullable.NewNullableWithValue(100)}))
	res = s.key("/api/sensors", secret)
	if res.StatusCode != 200 || res.Header.Get("RateLimit-Policy") != `"api-key";q=100;w=60` {
		t.Errorf("with a limit of its own: got %d %v", res.StatusCode, res.Header)
	}
}

func TestLogin_SaysWhatIsLeft(t *testing.T) {
	s := start(t)
	for i, want := range []string{
		`"username";r=9;t=900`, `"username";r=8;t=900`,
	} {
		res := s.tryLogin("viewer", "wrong")
		if got := res.Header.Get("RateLimit"); res.StatusCode != 401 || got != want {
			t.Errorf("failure %d: got %d %q, want %q", i, res.StatusCode, got, want)
		}
	}
	res := s.tryLogin("viewer", password)
	if got := res.Header.Get("RateLimit"); res.StatusCode != 200 || got != `"username";r=10;t=900` {
		t.Errorf("success: got %d %q", res.StatusCode, got)
	}
	for range 11 {
		res = s.tryLogin("viewer", "wrong")
	}
	if got := res.Header.Get("RateLimit"); res.StatusCode != 429 ||
		!strings.HasPrefix(got, `"username";r=0;t=`) {
		t.Errorf("over the limit: got %d %q", res.StatusCode, got)
	}
}

func TestAPIKey_OpensWebSocketsUntilItEnds(t *testing.T) {
	s := start(t)
	k, secret := s.addAPIKey(store.Viewer)
	ticket := must(s.client(secret).CreateWebSocketTicketWithResponse(t.Context())).JSON201.Ticket
	byMessage := func(secret string) *websocket.Conn {
		conn, _ := s.dial("/ws")
		_ = conn.WriteJSON(members{"type": "auth", "token": secret})
		return conn
	}
	dial := func(path string, header ...string) *websocket.Conn {
		conn, _ := s.dial(path, header...)
		return conn
	}
	conns := map[string]*websocket.Conn{
		"X-API-Key": dial("/ws", "X-API-Key", secret),
		"bearer":    dial("/ws", "Authorization", "Bearer "+secret),
		"ticket":    dial("/ws?ticket=" + ticket),
		"message":   byMessage(secret),
	}
	for way, conn := range conns {
		frame := expect(t, conn, "authenticated")
		_, hasUser := frame["user_id"]
		_, hasExpiry := frame["expires_at"]
		if frame["api_key_id"] != float64(k.ID) || hasUser || hasExpiry {
			t.Errorf("%s: got %v", way, frame)
		}
	}
	if conn, _ := s.dial("/ws?ticket=" + ticket); conn != nil {
		t.Error("a ticket opened a second socket")
	}
	expectClose(t, byMessage(secret[:len(secret)-1]), push.CloseNotAuthenticated)
	second := must(s.client(secret).CreateWebSocketTicketWithResponse(t.Context())).JSON201.Ticket
	must(s.as(store.Admin).RevokeAPIKeyWithResponse(t.Context(), k.ID, nil))
	for _, conn := range conns {
		expectClose(t, conn, push.CloseNotAuthenticated)
	}
	if conn, res := s.dial("/ws?ticket=" + second); conn != nil || res.StatusCode != 401 {
		t.Error("the ticket of a revoked key opened a socket")
	}
	t.Run("one that expires", func(t *testing.T) {
		expiring, secret := auth.NewAPIKey()
		_, err := s.store.CreateAPIKey(t.Context(), store.APIKey{
			Name: "soon", Prefix: secret, Role: store.Viewer,
			ExpiresAt: new(time.Now().Add(3 * time.Second)),
		}, expiring)
		if err != nil {
			t.Fatal(err)
		}
		conn := byMessage(expiring)
		if expect(t, conn, "authenticated")["expires_at"] == nil {
			t.Error("authenticated has no expires_at")
		}
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, _, err = conn.ReadMessage()
		if !websocket.IsCloseError(err, push.CloseNotAuthenticated) {
			t.Errorf("close: got %v", err)
		}
	})
}

// An answer that is being sent when its key is revoked is completed, as after a logout; the next
// request is refused.
func TestAPIKey_RevokedDuringAnExport(t *testing.T) {
	s := startWithReadings(t, 200000)
	k, secret := s.addAPIKey(store.Viewer)
	res := s.slowly("/api/data/export?sensor_id=1", "X-API-Key", secret)
	defer res.Body.Close()
	must(s.as(store.Admin).RevokeAPIKeyWithResponse(t.Context(), k.ID, nil))
	text, err := io.ReadAll(res.Body)
	if lines := strings.Count(string(text), "\n"); err != nil || lines != 200001 {
		t.Errorf("export: got %d lines and %v", lines, err)
	}
	if got := s.key("/api/data/export?sensor_id=1", secret).StatusCode; got != 401 {
		t.Errorf("the next one: got %d", got)
	}
}

func TestAPIKey_TenThousand(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	s := startOn(t, dsn)
	db := must(sql.Open("postgres", dsn))
	defer db.Close()
	// Prefix and secret are numbers in the alphabet of base32, such as AAAABCDEFG.
	must(db.ExecContext(t.Context(), `
		INSERT INTO api_keys (name, prefix, hash, role)
		SELECT 'key ' || n, prefix, sha256((prefix || '_' || repeat('A', 26))::bytea), 'viewer'
		FROM (
			SELECT n,
				'oei_' || translate(lpad(n::text, 10, '0'), '0123456789', 'ABCDEFGHIJ') AS prefix
			FROM generate_series(1, 10000) AS n) AS keys`))
	secretOf := func(n int) string {
		digits := strings.NewReplacer("0", "A", "1", "B", "2", "C", "3", "D", "4", "E", "5", "F",
			"6", "G", "7", "H", "8", "I", "9", "J").Replace(fmt.Sprintf("%010d", n))
		return "oei_" + digits + "_" + strings.Repeat("A", 26)
	}
	for n := 1; n <= 10000; n += 37 {
		if res := s.key("/api/version", secretOf(n)); res.StatusCode != 404 {
			t.Fatalf("key %d: got %d %s", n, res.StatusCode, res.body)
		}
	}
	rows, pages := s.pages(store.Admin, "/api/api-keys?limit=1000")
	if len(rows) != 10000 || pages != 10 {
		t.Errorf("list: got %d keys on %d pages", len(rows), pages)
	}
	s.auth.RecordAPIKeyUses(t.Context())
	var used int
	if err := db.QueryRowContext(t.Context(),
		`SELECT count(*) FROM api_keys WHERE last_used_at IS NOT NULL`).Scan(&used); err != nil {
		t.Fatal(err)
	}
	if used != 271 {
		t.Errorf("keys with a last use: got %d, want 271", used)
	}
}
