package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/oei-ms/oei-ms/store"
)

const (
	public    = store.Role("everyone")
	anonymous = store.Role("everyone, or who the token says")
)

// row is an operation as it must be: who may call it, a good call, and its status.
type row struct {
	least  store.Role
	path   func(s *system) string
	body   string
	status int
}

func at(path string) func(*system) string { return func(*system) string { return path } }

func atUser(s *system) string {
	s.made++
	return fmt.Sprintf("/api/users/%d",
		s.addUser(fmt.Sprintf("user %d", s.made), store.Viewer, true).ID)
}

func atAPIKey(s *system) string {
	k, _ := s.addAPIKey(store.Viewer)
	return fmt.Sprintf("/api/api-keys/%d", k.ID)
}

func atGateway(rest string) func(*system) string {
	return func(s *system) string {
		return fmt.Sprintf("/api/gateways/%d%s", s.addGateway().ID,
			rest)
	}
}

func atSensor(path string) func(*system) string {
	return func(s *system) string { return fmt.Sprintf(path, s.addSensor(s.addGateway().ID).ID) }
}

// hot is a rule.
const hot = `"rule":{"name":"hot","kind":"threshold","severity":"major",` +
	`"limits":{"high":{"value":80}}}`

func atAlarm(rest string) func(*system) string {
	return func(s *system) string {
		return fmt.Sprintf("/api/alarms/%d%s", s.addAlarm(s.addSensor(s.addGateway().ID).ID), rest)
	}
}

// atChannel, atRoute and the next two are addresses below something that is made for them.
func atChannel(rest string) func(*system) string {
	return func(s *system) string {
		return fmt.Sprintf("/api/notifications/channels/%d%s", s.addChannel().ID, rest)
	}
}

func atRoute(s *system) string {
	s.made++
	r, err := s.store.CreateRoute(s.t.Context(),
		store.Route{Name: fmt.Sprintf("route %d", s.made), ChannelID: s.addChannel().ID})
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("/api/notifications/routes/%d", r.ID)
}

func atSilence(rest string) func(*system) string {
	return func(s *system) string {
		v, err := s.store.CreateSilence(s.t.Context(), store.Silence{
			StartsAt:   time.Now(),
			EndsAt:     time.Now().Add(time.Hour),
			Severities: []string{"minor"},
			Reason:     "a test",
			CreatedBy:  "operator",
		})
		if err != nil {
			s.t.Fatal(err)
		}
		return fmt.Sprintf("/api/notifications/silences/%d%s", v.ID, rest)
	}
}

func atDelivery(s *system) string {
	d, err := s.store.BeginTest(s.t.Context(), s.addChannel().ID, time.Minute)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("/api/notifications/deliveries/%d", d.ID)
}

// addChannel adds an e-mail channel, for which there is no server.
func (s *system) addChannel() store.Channel {
	s.t.Helper()
	s.made++
	c, err := s.store.CreateChannel(s.t.Context(), store.Channel{
		Name:       fmt.Sprintf("channel %d", s.made),
		Kind:       store.Email,
		IsActive:   true,
		Recipients: []string{"a@example.com"},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// rows has one for each operation of the contract, made by hand: it is what the contract's own
// security is held against. NEW in a body is something new each time.
var rows = map[string]row{
	"login": {
		public, at("/api/auth/login"), `{"username":"viewer","password":"` + password + `"}`, 200,
	},
	"refreshSession": {public, at("/api/auth/refresh"), `{"refresh_token":"rt_unknown"}`, 401},
	"logout":         {store.Viewer, at("/api/auth/logout"), "", 204},
	"getCurrentUser": {store.Viewer, at("/api/auth/me"), "", 200},
	"changePassword": {
		store.Viewer, at("/api/auth/me/password"),
		`{"current_password":"` + password + `","new_password":"` + password + `"}`, 204,
	},
	"listUsers": {store.Admin, at("/api/users"), "", 200},
	"createUser": {
		store.Admin, at("/api/users"),
		`{"username":"NEW","email":"NEW@x","role":"viewer","password":"long enough"}`, 201,
	},
	"getUser":          {store.Admin, atUser, "", 200},
	"updateUser":       {store.Admin, atUser, `{"role":"operator"}`, 200},
	"deleteUser":       {store.Admin, atUser, "", 200},
	"listAPIKeys":      {store.Admin, at("/api/api-keys"), "", 200},
	"createAPIKey":     {store.Admin, at("/api/api-keys"), `{"name":"NEW","role":"viewer"}`, 201},
	"getCurrentAPIKey": {store.Viewer, at("/api/api-keys/current"), "", 404},
	"getAPIKey":        {store.Admin, atAPIKey, "", 200},
	"updateAPIKey":     {store.Admin, atAPIKey, `{"role":"operator"}`, 200},
	"revokeAPIKey":     {store.Admin, atAPIKey, "", 204},
	"listGateways":     {store.Viewer, at("/api/gateways"), "", 200},
	"createGateway":    {store.Engineer, at("/api/gateways"), `{"key":"NEW","name":"x"}`, 201},
	"getGateway":       {store.Viewer, atGateway(""), "", 200},
	"updateGateway":    {store.Engineer, atGateway(""), `{"name":"y"}`, 200},
	"deleteGateway":    {store.Engineer, atGateway(""), "", 200},
	"listCredentials":  {store.Engineer, atGateway("/credentials"), "", 200},
	"createCredential": {store.Engineer, atGateway("/credentials"), "", 201},
	"revokeCredential": {store.Engineer, func(s *system) string {
		g := s.addGateway()
		c, _, _, err := s.store.AddCredential(s.t.Context(), g.ID, "secret")
		if err != nil {
			s.t.Fatal(err)
		}
		return fmt.Sprintf("/api/gateways/%d/credentials/%d", g.ID, c.ID)
	}, "", 204},
	"listSensors": {store.Viewer, at("/api/sensors"), "", 200},
	"createSensor": {
		store.Engineer, at("/api/sensors"),
		`{"key":"NEW","name":"x","type":"temperature","gateway_id":1}`, 201,
	},
	"getSensor":    {store.Viewer, atSensor("/api/sensors/%d"), "", 200},
	"updateSensor": {store.Engineer, atSensor("/api/sensors/%d"), `{"name":"y"}`, 200},
	"deleteSensor": {store.Engineer, atSensor("/api/sensors/%d"), "", 200},
	"listReadings": {store.Viewer, atSensor("/api/data?sensor_id=%d"), "", 200},
	"writeReadings": {
		store.Engineer, at("/api/data"), `{"readings":[{"sensor_id":1,"value":1}]}`, 200,
	},
	"deleteReadings": {
		store.Admin,
		atSensor("/api/data?sensor_id=%d&start=2026-01-01T00:00:00Z&end=2026-01-02T00:00:00Z"), "",
		200,
	},
	"exportReadings": {store.Viewer, atSensor("/api/data/export?sensor_id=%d"), "", 200},
	"getHistory": {
		store.Viewer,
		atSensor("/api/data/history?sensor_id=%d&start=2026-01-01T00:00:00Z&" +
			"end=2026-01-02T00:00:00Z"),
		"", 200,
	},
	"getDownsampledReadings": {
		store.Viewer,
		atSensor("/api/data/downsampled?sensor_id=%d&" +
			"start=2026-01-01T00:00:00Z&end=2026-01-02T00:00:00Z"),
		"", 200,
	},
	"getStatistics": {
		store.Viewer,
		atSensor("/api/data/statistics?sensor_id=%d&start=2026-01-01T00:00:00Z&" +
			"end=2026-01-02T00:00:00Z"),
		"", 200,
	},
	"listLatestReadings": {store.Viewer, at("/api/data/latest"), "", 200},
	"previewRetention":   {store.Engineer, at("/api/data/retention"), "", 200},
	"listRejections":     {store.Engineer, at("/api/data/rejections"), "", 200},
	"listAlarms":         {store.Viewer, at("/api/alarms"), "", 200},
	"createAlarm":        {store.Engineer, at("/api/alarms"), `{"sensor_id":1,` + hot + `}`, 201},
	"acknowledgeAlarms": {
		store.Operator, at("/api/alarms/ack"),
		`{"alarms":[{"id":999,"occurrence":1,"state_version":1}]}`,
		200,
	},
	"listAlarmEvents": {store.Viewer, at("/api/alarms/events"), "", 200},
	"simulateAlarm": {
		store.Engineer, at("/api/alarms/simulate"),
		`{"sensor_id":1,"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z",` + hot + `}`,
		200,
	},
	"getAlarmKPI": {store.Viewer, at("/api/alarms/kpi"), "", 200},
	"getAlarm":    {store.Viewer, atAlarm(""), "", 200},
	"updateAlarm": {store.Engineer, atAlarm(""), `{` + hot + `}`, 200},
	"deleteAlarm": {store.Engineer, atAlarm(""), "", 200},
	// there is nothing to acknowledge
	"acknowledgeAlarm": {
		store.Operator, atAlarm("/ack"), `{"occurrence":1,"state_version":1}`, 409,
	},
	"shelveAlarm": {
		store.Operator, atAlarm("/shelve"), `{"duration_seconds":300,"comment":"x"}`, 200,
	},
	"unshelveAlarm":         {store.Operator, atAlarm("/unshelve"), `{}`, 409},
	"resetAlarm":            {store.Operator, atAlarm("/reset"), `{}`, 409},
	"takeAlarmOutOfService": {store.Admin, atAlarm("/out-of-service"), `{"comment":"x"}`, 200},
	"returnAlarmToService":  {store.Admin, atAlarm("/return-to-service"), `{}`, 409},
	"commentOnAlarm":        {store.Operator, atAlarm("/comments"), `{"comment":"x"}`, 200},
	"listEventsForAlarm":    {store.Viewer, atAlarm("/events"), "", 200},
	"explainAlarm":          {store.Viewer, atAlarm("/explain"), "", 200},
	"createWebSocketTicket": {store.Viewer, at("/api/ws/ticket"), "", 201},
	// let in, and then found not to be a WebSocket
	"openWebSocket":       {anonymous, at("/ws"), "", 426},
	"openAlarmWebSocket":  {anonymous, at("/ws/alarms"), "", 426},
	"openSensorWebSocket": {anonymous, atSensor("/ws/sensors/%d"), "", 426},
	"getHealth":           {public, at("/health"), "", 200},
	"getLiveness":         {public, at("/health/live"), "", 200},
	"getReadiness":        {public, at("/health/ready"), "", 200},
	"getMetrics":          {public, at("/metrics"), "", 200},
	"getVersion":          {public, at("/version"), "", 200},
	"getOpenAPI":          {public, at("/openapi.json"), "", 200},
	"getRoot":             {public, at("/"), "", 302},
	"getDocs":             {public, at("/docs"), "", 200},
	"getDocsAsset":        {public, at("/docs/assets/swagger-init.js"), "", 200},
	"getRedoc":            {public, at("/redoc"), "", 200},
	"getAsyncAPIText":     {public, at("/asyncapi.yaml"), "", 200},
	"getAsyncAPI":         {public, at("/asyncapi.json"), "", 200},
	"getAsyncAPIPage":     {public, at("/asyncapi"), "", 200},
	"getGuidePage":        {public, at("/docs/guide/mqtt"), "", 200},

	"listNotificationChannels": {store.Viewer, at("/api/notifications/channels"), "", 200},
	"createNotificationChannel": {
		store.Engineer, at("/api/notifications/channels"),
		`{"name":"NEW","kind":"email","recipients":["a@example.com"]}`, 201,
	},
	"getNotificationChannel":    {store.Viewer, atChannel(""), "", 200},
	"updateNotificationChannel": {store.Engineer, atChannel(""), `{"is_active":false}`, 200},
	"deleteNotificationChannel": {store.Engineer, atChannel(""), "", 204},
	"testNotificationChannel":   {store.Engineer, atChannel("/test"), "", 200},
	"listNotificationRoutes":    {store.Viewer, at("/api/notifications/routes"), "", 200},
	"createNotificationRoute": {store.Engineer, func(s *system) string {
		if cs, _ := s.store.Channels(s.t.Context(), 0, 1); len(cs) == 0 || cs[0].ID != 1 {
			s.addChannel()
		}
		return "/api/notifications/routes"
	}, `{"name":"NEW","channel_id":1}`, 201},
	"getNotificationRoute":     {store.Viewer, atRoute, "", 200},
	"updateNotificationRoute":  {store.Engineer, atRoute, `{"remind_seconds":60}`, 200},
	"deleteNotificationRoute":  {store.Engineer, atRoute, "", 204},
	"listNotificationSilences": {store.Viewer, at("/api/notifications/silences"), "", 200},
	"createNotificationSilence": {
		store.Operator, at("/api/notifications/silences"),
		`{"ends_at":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) +
			`","severities":["minor"],"reason":"a test"}`, 201,
	},
	"getNotificationSilence":     {store.Viewer, atSilence(""), "", 200},
	"endNotificationSilence":     {store.Operator, atSilence("/end"), "", 200},
	"listNotificationDeliveries": {store.Viewer, at("/api/notifications/deliveries"), "", 200},
	"getNotificationDelivery":    {store.Viewer, atDelivery, "", 200},
}

// addPlant adds sensor 1 of gateway 1, and channel 1, which rows refer to.
func (s *system) addPlant() {
	s.t.Helper()
	s.addSensor(s.addGateway().ID)
	s.addChannel()
}

// call makes the good call of the row.
func (s *system) call(method string, r row, token string) answer {
	s.t.Helper()
	s.made++
	return s.send(method, r.path(s), token,
		strings.ReplaceAll(r.body, "NEW", fmt.Sprintf("new-%d", s.made)))
}

// eachOperation calls f for each operation of the contract.
func eachOperation(
	t *testing.T, f func(path, method string, item *openapi3.PathItem, op *openapi3.Operation),
) {
	t.Helper()
	for path, item := range contract(t).Paths.Map() {
		for method, op := range item.Operations() {
			f(path, method, item, op)
		}
	}
}

func TestOperations_AllowTheRolesOfTheContract(t *testing.T) {
	s := start(t)
	s.addPlant()
	disabled := s.addUser("disabled", store.Admin, false)
	callers := map[string]func() (token string, role store.Role){
		"nobody":            func() (string, store.Role) { return "", "" },
		"a disabled admin":  func() (string, store.Role) { return s.token(disabled), "refused" },
		"a logged-out user": func() (string, store.Role) { return s.loggedOut(), "refused" },
		"a garbage token":   func() (string, store.Role) { return "garbage", "refused" },
	}
	for role, user := range s.users {
		callers[string(role)] = func() (string, store.Role) { return s.token(user), role }
	}
	seen := 0
	eachOperation(t, func(path, method string, _ *openapi3.PathItem, op *openapi3.Operation) {
		r, ok := rows[op.OperationID]
		if !ok {
			t.Errorf("operation %s has no row in this test: say who may call it", op.OperationID)
			return
		}
		seen++
		for name, caller := range callers {
			token, role := caller()
			if got, want := s.call(method, r, token), r.wanted(role); got.StatusCode != want {
				t.Errorf("%s as %s: got %d, want %d: %s", op.OperationID, name, got.StatusCode,
					want, got.body)
			}
		}
	})
	if seen != len(rows) {
		t.Errorf("rows: got %d operations, want %d", seen, len(rows))
	}
}

// wanted is the status for a caller with role, which is empty without a login.
func (r row) wanted(role store.Role) int {
	switch {
	case r.least == public, r.least == anonymous && role == "":
		return r.status
	case !role.Valid():
		return http.StatusUnauthorized
	case r.least == anonymous, role.Includes(r.least):
		return r.status
	}
	return http.StatusForbidden
}

// loggedOut returns the token of a session that has ended.
func (s *system) loggedOut() string {
	s.t.Helper()
	token := s.token(s.users[store.Admin])
	if res := s.send("POST", "/api/auth/logout", token,
		""); res.StatusCode != http.StatusNoContent {
		s.t.Fatalf("logout: got %d: %s", res.StatusCode, res.body)
	}
	return token
}
