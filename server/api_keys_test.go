package server_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/internal/pgtest"
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

// notForKeys are the operations that need a user, made by hand: the contract's own security is held
// against it.
var notForKeys = []string{
	"logout", "getCurrentUser", "changePassword", "listUsers", "createUser", "getUser",
	"updateUser", "deleteUser", "listAPIKeys", "createAPIKey", "getAPIKey", "updateAPIKey",
	"revokeAPIKey",
}

func TestOperations_AllowAPIKeysWithTheRolesOfTheContract(t *testing.T) {
	s := start(t)
	s.addPlant()
	secrets := map[store.Role]string{}
	for _, role := range []store.Role{store.Viewer, store.Operator, store.Engineer, store.Admin} {
		_, secrets[role] = s.addAPIKey(role)
	}
	eachOperation(t, func(_, method string, _ *openapi3.PathItem, op *openapi3.Operation) {
		r := rows[op.OperationID]
		for role, secret := range secrets {
			want := r.wanted(role)
			switch {
			case slices.Contains(notForKeys, op.OperationID):
				want = http.StatusForbidden
			case op.OperationID == "getCurrentAPIKey":
				want = http.StatusOK
			}
			res := s.call(method, r, secret)
			if res.StatusCode != want {
				t.Errorf("%s as a key with the role %s: got %d, want %d: %s", op.OperationID, role,
					res.StatusCode, want, res.body)
			}
			limited := r.least != public
			if has := res.Header.Get("RateLimit") != ""; limited && !has {
				t.Errorf("%s as a key: %d has no RateLimit", op.OperationID, res.StatusCode)
			}
		}
	})
}

// key sends a GET with an API key as X-API-Key.
func (s *system) key(path, secret string, header ...string) answer {
	s.t.Helper()
	return s.send("GET", path, "", "", append(header, "X-API-Key", secret)...)
}

func TestAPIKey_FromCreationToRevocation(t *testing.T) {
	s := start(t)
	admin := s.as(store.Admin)
	created := must(admin.CreateAPIKeyWithResponse(t.Context(), client.APIKeyCreate{
		Name: "Grafana",
		Role: client.RoleViewer,
	}))
	k := created.JSON201
	if k == nil || !strings.HasPrefix(k.Key, k.Prefix+"_") || k.CreatedBy.MustGet() != "admin" {
		t.Fatalf("create: got %s", created.Body)
	}
	if got := created.HTTPResponse.Header.Get("Location"); got != fmt.Sprintf("/api/api-keys/%d",
		k.ID) {
		t.Errorf("Location: got %q", got)
	}
	for name, header := range map[string][]string{
		"X-API-Key":                {"X-API-Key", k.Key},
		"a bearer token":           {"Authorization", "Bearer " + k.Key},
		"both headers":             {"Authorization", "Bearer " + k.Key, "X-API-Key", k.Key},
		"a proxy's basic password": {"Authorization", "Basic YTpi", "X-API-Key", k.Key},
	} {
		if res := s.send("GET", "/api/sensors", "", "", header...); res.StatusCode != 200 {
			t.Errorf("%s: got %d %s", name, res.StatusCode, res.body)
		}
	}
	current := client.APIKey{}
	s.decoded(s.key("/api/api-keys/current", k.Key), &current)
	if current.ID != k.ID || current.Name != "Grafana" {
		t.Errorf("current: got %+v", current)
	}
	s.auth.RecordAPIKeyUses(t.Context())
	read := must(admin.GetAPIKeyWithResponse(t.Context(), k.ID))
	if read.JSON200.LastUsedAt.IsNull() || read.JSON200.LastUsedFrom.MustGet() != "127.0.0.1" {
		t.Errorf("last use: got %s", read.Body)
	}
	if strings.Contains(string(read.Body), k.Key) {
		t.Error("the key is shown a second time")
	}
	tag := read.HTTPResponse.Header.Get("ETag")
	if tag != created.HTTPResponse.Header.Get("ETag") {
		t.Errorf("ETag: a use has changed it to %s", tag)
	}
	if got := s.send("POST", "/api/gateways", k.Key, `{"name":"x"}`).StatusCode; got != 403 {
		t.Errorf("a viewer's key creates a gateway: got %d", got)
	}
	update := func(change client.APIKeyUpdate) int {
		res := must(admin.UpdateAPIKeyWithResponse(t.Context(), k.ID,
			&client.UpdateAPIKeyParams{IfMatch: &tag}, change))
		return res.StatusCode()
	}
	engineer := client.APIKeyUpdate{Role: new(client.RoleEngineer)}
	if a, b := update(engineer), update(engineer); a != 200 || b != 412 {
		t.Errorf("update, and with an old ETag: got %d and %d, want 200 and 412", a, b)
	}
	if got := s.send("POST", "/api/gateways", k.Key, `{"name":"x"}`).StatusCode; got != 201 {
		t.Errorf("after the change of its role: got %d", got)
	}
	if res := must(admin.RevokeAPIKeyWithResponse(t.Context(), k.ID,
		nil)); res.StatusCode() != 204 {
		t.Errorf("revoke: got %d", res.StatusCode())
	}
	if res := s.key("/api/sensors", k.Key); res.StatusCode != 401 {
		t.Errorf("after the revocation: got %d", res.StatusCode)
	}
	for _, line := range []string{
		`"api key changed","action":"created"`, `"api key changed","action":"changed"`,
		`"api key changed","action":"revoked"`, `"api key refused","prefix":"` + k.Prefix,
	} {
		if !strings.Contains(s.log.String(), line) {
			t.Errorf("the log has no %s", line)
		}
	}
	if n := strings.Count(s.log.String(), `"api key used"`); n != 1 {
		t.Errorf("uses from one address: got %d log lines, want 1", n)
	}
	if strings.Contains(s.log.String(), k.Key[len(k.Prefix):]) {
		t.Error("the secret is in the log")
	}
}

func TestAPIKey_InputsThatAreRefused(t *testing.T) {
	s := start(t)
	taken, _ := s.addAPIKey(store.Viewer)
	token := s.token(s.users[store.Admin])
	past := time.Now().Add(-time.Second).UTC().Format(time.RFC3339)
	tests := map[string]struct {
		body  string
		want  int
		field string
	}{
		"a name that is taken": {`{"name":"` + taken.Name + `","role":"viewer"}`, 409, "name"},
		"no role":              {`{"name":"x"}`, 400, "role"},
		"an unknown role":      {`{"name":"x","role":"root"}`, 400, "role"},
		"no name":              {`{"name":"","role":"viewer"}`, 400, "name"},
		"two lines":            {`{"name":"a\nb","role":"viewer"}`, 400, "name"},
		"an expiry that passed": {
			`{"name":"x","role":"viewer","expires_at":"` + past + `"}`, 400, "expires_at",
		},
		"no requests": {
			`{"name":"x","role":"viewer","requests_per_minute":0}`, 400, "requests_per_minute",
		},
		"a key of one's own": {`{"name":"x","role":"viewer","key":"oei_x"}`, 400, "key"},
	}
	for name, tt := range tests {
		res := s.send("POST", "/api/api-keys", token, tt.body)
		if res.StatusCode != tt.want || !names(res, tt.field) {
			t.Errorf("%s: got %d %s, want %d and %s", name, res.StatusCode, res.body, tt.want,
				tt.field)
		}
	}
	path := fmt.Sprintf("/api/api-keys/%d", taken.ID)
	body := `{"expires_at":"` + past + `"}`
	if res := s.send("PUT", path, token, body); res.StatusCode != 400 || !names(res, "expires_at") {
		t.Errorf("a new expiry that passed: got %d %s", res.StatusCode, res.body)
	}
	for _, name := range []string{"api-key:" + taken.Name, "API-Key:x"} {
		body := fmt.Sprintf(`{"username":%q,"email":"a@b","role":"viewer","password":"longenough"}`,
			name)
		if res := s.send("POST", "/api/users", token, body); res.StatusCode != 400 {
			t.Errorf("a user with the name %s: got %d", name, res.StatusCode)
		}
		body = fmt.Sprintf(`{"username":%q}`, name)
		path := fmt.Sprintf("/api/users/%d", s.users[store.Viewer].ID)
		if res := s.send("PUT", path, token, body); res.StatusCode != 400 {
			t.Errorf("a user renamed to %s: got %d", name, res.StatusCode)
		}
	}
}

func TestAPIKey_ExpiresAtOnce(t *testing.T) {
	s := start(t)
	k, secret := s.addAPIKey(store.Viewer)
	if res := s.key("/api/sensors", secret); res.StatusCode != 200 {
		t.Fatalf("before: got %d", res.StatusCode)
	}
	at := sql.Null[time.Time]{V: time.Now(), Valid: true}
	must(s.store.UpdateAPIKey(t.Context(), k.ID, 0, store.APIKeyChange{ExpiresAt: &at}))
	s.auth.ForgetAPIKey(k.Prefix)
	res := s.key("/api/sensors", secret)
	if res.StatusCode != 401 || !strings.Contains(res.problem().Detail, "has expired") {
		t.Errorf("after: got %d %s", res.StatusCode, res.body)
	}
	wrong := secret[:len(secret)-1] + "A"
	if secret == wrong {
		wrong = secret[:len(secret)-1] + "B"
	}
	if detail := s.key("/api/sensors", wrong).problem().Detail; !strings.Contains(detail,
		"not valid") {
		t.Errorf("a wrong secret is told of an expired key: %s", detail)
	}
}

// Other instances keep keys in memory, and notice a change as soon as the end of a session.
func TestAPIKey_OtherInstanceNoticesWithinASecond(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	a, b := startOn(t, dsn), startOn(t, dsn)
	k, secret := a.addAPIKey(store.Viewer)
	write := func() int {
		return b.send("POST", "/api/gateways", secret,
			`{"name":"x"}`).StatusCode
	}
	if got := write(); got != 403 {
		t.Fatalf("before: got %d", got)
	}
	admin := a.as(store.Admin)
	must(admin.UpdateAPIKeyWithResponse(t.Context(), k.ID, nil,
		client.APIKeyUpdate{Role: new(client.RoleEngineer)}))
	within(t, 1200*time.Millisecond, "the other instance knows the role",
		func() bool { return write() == 201 })
	must(admin.RevokeAPIKeyWithResponse(t.Context(), k.ID, nil))
	within(t, 1200*time.Millisecond, "the other instance refuses the key",
		func() bool { return write() == 401 })
}

func TestAPIKey_ActsUnderItsOwnName(t *testing.T) {
	s := start(t)
	k, secret := s.addAPIKey(store.Operator)
	alarm := s.addAlarm(s.addSensor(s.addGateway().ID).ID)
	path := fmt.Sprintf("/api/alarms/%d/comments", alarm)
	if res := s.send("POST", path, secret, `{"comment":"seen"}`); res.StatusCode != 200 {
		t.Fatalf("comment: got %d %s", res.StatusCode, res.body)
	}
	must(s.store.DeleteAPIKey(t.Context(), k.ID, 0))
	events := must(s.as(store.Viewer).ListEventsForAlarmWithResponse(t.Context(), alarm, nil))
	if !slices.ContainsFunc(*events.JSON200, func(e client.AlarmEvent) bool {
		return e.User == "api-key:"+k.Name && e.Comment == "seen"
	}) {
		t.Errorf("events: got %s", events.Body)
	}
}

// A key of a program outlives the user who created it.
func TestAPIKey_OutlivesItsCreator(t *testing.T) {
	s := start(t)
	second := s.addUser("second", store.Admin, true)
	key := must(s.client(s.token(second)).CreateAPIKeyWithResponse(t.Context(),
		client.APIKeyCreate{Name: "kiosk", Role: client.RoleAdmin})).JSON201.Key
	admin := s.as(store.Admin)
	must(admin.UpdateUserWithResponse(t.Context(), second.ID, nil,
		client.UserUpdate{Role: new(client.RoleViewer), IsActive: new(false)}))
	if res := s.key("/api/data/rejections", key); res.StatusCode != 200 {
		t.Errorf("after the creator was demoted and disabled: got %d", res.StatusCode)
	}
	deleted := must(admin.DeleteUserWithResponse(t.Context(), second.ID, nil))
	if deleted.JSON200 == nil || deleted.JSON200.APIKeys != 1 {
		t.Errorf("delete: got %s", deleted.Body)
	}
	if res := s.key("/api/data/rejections", key); res.StatusCode != 200 {
		t.Errorf("after the creator was deleted: got %d", res.StatusCode)
	}
	left := must(admin.ListAPIKeysWithResponse(t.Context(),
		&client.ListAPIKeysParams{CreatedBy: new("second")}))
	if len(*left.JSON200) != 1 {
		t.Errorf("keys of the creator: got %s", left.Body)
	}
}
