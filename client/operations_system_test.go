package oei_test

import (
	"strings"
	"time"

	oei "github.com/oei-ms/oei-ms/client"
)

func driveSystem(p *plant) {
	ctx, c := p.Context(), p.c
	if h := must(c.Health(ctx)); h.Status != oei.HealthStatusHealthy {
		p.Errorf("got %+v, want a healthy server", h)
	}
	if must(c.Liveness(ctx)).Status == "" || must(c.Readiness(ctx)).Status == "" ||
		must(c.Version(ctx)).Version == "" || must(c.OpenAPI(ctx))["openapi"] == nil ||
		must(c.AsyncAPI(ctx))["asyncapi"] == nil {
		p.Error("an answer of the system is empty")
	}
	for name, text := range map[string]string{
		"http_requests_total": must(c.Metrics(ctx)),
		"asyncapi: ":          must(c.AsyncAPIText(ctx)),
		"<html":               p.page("/docs") + p.page("/redoc") + p.page("/asyncapi"),
		"MQTT":                p.page("/docs/guide/mqtt"),
		"<title>":             p.page("/"), // redirects
	} {
		if !strings.Contains(text, name) {
			p.Errorf("no %q in %.200q", name, text)
		}
	}
	asset := strings.Split(p.page("/docs"), "docs/assets/")[1]
	p.page("/docs/assets/" + asset[:strings.IndexAny(asset, `"'?`)])
}

func driveAuth(p *plant) {
	ctx, c := p.Context(), p.c
	tokens := must(c.Login(ctx, oei.LoginRequest{Username: "admin", Password: password}))
	tokens = must(c.RefreshSession(ctx, oei.RefreshRequest{RefreshToken: tokens.RefreshToken}))
	other := must(oei.Dial(ctx, address, oei.Token(tokens.AccessToken), p.recorded()))
	defer other.Close()
	if u := must(other.CurrentUser(ctx)); u.Username != "admin" {
		p.Errorf("got %+v, want admin", u)
	}
	check(c.Logout(ctx)) // the client logs in again
	if must(c.CreateWebSocketTicket(ctx)).Ticket == "" {
		p.Error("got no ticket")
	}
}

func driveUsers(p *plant) {
	ctx, c := p.Context(), p.c
	u := must(c.CreateUser(ctx, oei.UserCreate{
		Username: "mia",
		Email:    "mia@example.com",
		Password: "another password",
		Role:     oei.RoleViewer,
	}))
	u = must(c.UpdateUser(ctx, u.ID, func(u *oei.User) { u.Role = oei.RoleEngineer }))
	u = must(c.PutUser(ctx, u.ID, nil, oei.UserUpdate{Email: new(oei.Email("m@example.com"))}))
	if got := must(c.User(ctx, u.ID)); got != u || got.Role != oei.RoleEngineer {
		p.Errorf("got %+v, want %+v", got, u)
	}
	mia := must(oei.Dial(ctx, address, oei.Password("mia", "another password"),
		p.recorded()))
	change := oei.PasswordChangeRequest{
		CurrentPassword: "another password",
		NewPassword:     "yet another password",
	}
	check(mia.ChangePassword(ctx, change))
	check(mia.Close())
	if n := len(all(c.Users(ctx, &oei.UsersParams{Limit: new(1)}))); n < 2 {
		p.Errorf("got %d users, want at least 2", n)
	}
	must(c.DeleteUser(ctx, u.ID, nil))
}

func driveAPIKeys(p *plant) {
	ctx, c := p.Context(), p.c
	key := must(c.CreateAPIKey(ctx, oei.APIKeyCreate{Name: "grafana", Role: oei.RoleViewer}))
	program := must(oei.Dial(ctx, address, oei.APIKey(key.Key), p.recorded()))
	if got := must(program.CurrentAPIKey(ctx)); got.ID != key.ID {
		p.Errorf("got %+v, want the key %d", got, key.ID)
	}
	must(c.UpdateAPIKey(ctx, key.ID, func(k *oei.APIKeyInfo) { k.Name = "grafana 2" }))
	if got := must(c.APIKey(ctx, key.ID)); got.Name != "grafana 2" {
		p.Errorf("got %+v, want another name", got)
	}
	if n := len(all(c.APIKeys(ctx, nil))); n != 1 {
		p.Errorf("got %d keys, want 1", n)
	}
	check(c.RevokeAPIKey(ctx, key.ID, nil))
	_, err := oei.Dial(ctx, address, oei.APIKey(key.Key))
	wantIs(p.T, err, oei.ErrNotAuthenticated)
}

func driveGateways(p *plant) {
	ctx, c, id := p.Context(), p.c, p.gateway.ID
	g := must(c.UpdateGateway(ctx, id, func(g *oei.Gateway) { g.Location = "Hall 3" }))
	if got := must(c.Gateway(ctx, id)); got.Location != "Hall 3" || got.ID != g.ID {
		p.Errorf("got %+v, want another location", got)
	}
	key := &oei.GatewaysParams{Key: &g.Key}
	if n := len(all(c.Gateways(ctx, key))); n != 1 {
		p.Errorf("got %d gateways, want 1", n)
	}
	credential := must(c.CreateCredential(ctx, id))
	if n := len(must(c.Credentials(ctx, id))); n != 1 || credential.Secret == "" {
		p.Errorf("got %d credentials, want 1 with a secret", n)
	}
	check(c.RevokeCredential(ctx, id, credential.ID))
	s := must(c.UpdateSensor(ctx, p.sensor.ID, func(s *oei.Sensor) {
		s.MaxValue, s.Tags = oei.Value(200.0), oei.Tags{"line": "2"}
	}))
	s = must(c.UpdateSensor(ctx, s.ID, func(s *oei.Sensor) { s.MaxValue = oei.Null[float64]() }))
	if got := must(c.Sensor(ctx, s.ID)); !got.MaxValue.IsNull() || got.Tags["line"] != "2" {
		p.Errorf("got %+v, want no limit and a tag", got)
	}
	if n := len(all(c.Sensors(ctx, &oei.SensorsParams{GatewayID: &id}))); n != 1 {
		p.Errorf("got %d sensors, want 1", n)
	}
}

func driveData(p *plant) {
	ctx, c := p.Context(), p.c
	begin, ids := time.Now().Add(-time.Hour).Truncate(time.Second), []oei.ID{p.sensor.ID}
	var readings []oei.ReadingCreate
	for i := range 60 {
		readings = append(readings, oei.ReadingCreate{
			SensorID:  p.sensor.ID,
			Timestamp: new(begin.Add(time.Duration(i) * time.Second)),
			Value:     oei.Value(float64(i)),
		})
	}
	if r := must(c.WriteReadings(ctx, nil,
		oei.ReadingsWriteRequest{Readings: readings})); r.Stored != 60 {
		p.Errorf("got %+v, want 60 stored", r)
	}
	end := begin.Add(time.Minute)
	for name, n := range map[string]int{
		"readings": len(all(c.Readings(ctx, oei.ReadingsParams{SensorID: ids, Limit: new(7)}))),
		"export":   len(all(c.Export(ctx, oei.ExportReadingsParams{SensorID: ids}))),
	} {
		if n != 60 {
			p.Errorf("%s: got %d, want 60", name, n)
		}
	}
	if n := len(all(c.LatestReadings(ctx, &oei.LatestReadingsParams{SensorID: ids}))); n != 1 {
		p.Errorf("got %d latest readings, want 1", n)
	}
	history := must(c.History(ctx, oei.HistoryParams{SensorID: ids, Start: begin, End: end}))
	thin := must(c.DownsampledReadings(ctx, oei.DownsampledReadingsParams{
		SensorID: ids,
		Start:    begin,
		End:      end,
		Points:   new(20),
	}))
	statistics := must(c.Statistics(ctx, oei.StatisticsParams{
		SensorID: ids,
		Start:    begin,
		End:      end,
	}))
	if len(history.Series) != 1 || len(thin.Series) != 1 || len(statistics.Series) != 1 {
		p.Errorf("got %+v, %+v, %+v; want one sensor", history, thin, statistics)
	}
	all(c.Rejections(ctx, nil))
	all(c.PreviewRetention(ctx, nil))
	if r := must(c.DeleteReadings(ctx, oei.DeleteReadingsParams{
		SensorID: p.sensor.ID,
		Start:    begin,
		End:      begin.Add(10 * time.Second),
	})); r.Readings != 10 {
		p.Errorf("got %+v, want 10 deleted", r)
	}
}
