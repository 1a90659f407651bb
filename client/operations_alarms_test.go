package oei_test

import (
	"net/http"
	"time"

	oei "github.com/oei-ms/oei-ms/client"
)

func driveAlarms(p *plant) {
	ctx, c := p.Context(), p.c
	rule := oei.AlarmRule{
		Name:     "Motor hot",
		Kind:     oei.AlarmKindThreshold,
		Severity: oei.SeverityMajor,
		Limits:   &oei.AlarmLimits{High: &oei.AlarmLimit{Value: 80}},
		Latching: new(true),
	}
	if r := must(c.SimulateAlarm(ctx, oei.AlarmSimulationRequest{
		SensorID: p.sensor.ID,
		Rule:     rule,
		Start:    time.Now().Add(-2 * time.Hour),
		End:      time.Now(),
	})); r.Readings == 0 {
		p.Errorf("got %+v, want readings", r)
	}
	a := must(c.CreateAlarm(ctx, oei.AlarmCreate{SensorID: p.sensor.ID, Rule: rule}))
	p.write(90)
	a = must(c.Alarm(ctx, a.ID))
	must(c.ExplainAlarm(ctx, a.ID))
	seen := oei.AlarmAcknowledgeRequest{Occurrence: a.Occurrence, StateVersion: a.StateVersion}
	must(c.AcknowledgeAlarm(ctx, a.ID, seen))
	_, err := c.AcknowledgeAlarm(ctx, a.ID, seen)
	wantIs(p.T, err, oei.ErrConflict)
	must(c.CommentOnAlarm(ctx, a.ID, oei.AlarmCommentRequest{Comment: "bearing ordered"}))
	must(c.ShelveAlarm(ctx, a.ID, oei.AlarmShelveRequest{
		DurationSeconds: new(3600),
		Comment:         "being cleaned",
	}))
	must(c.UnshelveAlarm(ctx, a.ID, oei.AlarmCommandRequest{}))
	p.write(60)
	if a = must(c.ResetAlarm(ctx, a.ID, oei.AlarmCommandRequest{})); a.State != "normal" {
		p.Errorf("got %v, want normal", a.State)
	}
	must(c.TakeAlarmOutOfService(ctx, a.ID, oei.AlarmOutOfServiceRequest{Comment: "dismounted"}))
	p.write(99)
	a = must(c.ReturnAlarmToService(ctx, a.ID, oei.AlarmCommandRequest{}))
	if r := must(c.AcknowledgeAlarms(ctx, oei.AlarmBulkAcknowledgeRequest{
		Alarms: []oei.AlarmBulkAcknowledgeItem{{
			ID:           a.ID,
			Occurrence:   a.Occurrence,
			StateVersion: a.StateVersion,
		}},
	})); r[0].Status != "acknowledged" {
		p.Errorf("got %+v, want it acknowledged", r)
	}
	p.changeRule(a.ID)
	if n := len(all(c.Alarms(ctx, &oei.AlarmsParams{SensorID: &p.sensor.ID}))); n != 1 {
		p.Errorf("got %d alarms, want 1", n)
	}
	must(c.AlarmKPI(ctx, nil))
	must(c.DeleteAlarm(ctx, a.ID, nil))
	events := all(c.EventsForAlarm(ctx, a.ID, &oei.EventsForAlarmParams{Limit: new(3)}))
	log := all(c.AlarmEvents(ctx, &oei.AlarmEventsParams{SensorID: &p.sensor.ID}))
	if len(events) < 10 || len(events) != len(log) {
		p.Errorf("got %d and %d events, want the same number", len(events), len(log))
	}
}

// changeRule changes single members of a rule, and its kind.
func (p *plant) changeRule(id oei.ID) {
	ctx, c := p.Context(), p.c
	a := must(c.UpdateAlarm(ctx, id, func(a *oei.Alarm) { a.Rule.Limits.High.Value = 85 }))
	if a.Rule.Limits.High.Value != 85 || a.Rule.Name != "Motor hot" {
		p.Errorf("got %+v, want another limit", a.Rule)
	}
	a = must(c.UpdateAlarm(ctx, id, func(a *oei.Alarm) {
		a.Rule.Kind, a.Rule.Limits = oei.AlarmKindNoData, nil
		a.Rule.NoDataAfterMs = new(int64(60_000))
	}))
	if a.Rule.Kind != oei.AlarmKindNoData || a.Rule.Limits != nil {
		p.Errorf("got %+v, want another kind", a.Rule)
	}
	if _, err := c.UpdateAlarm(ctx, id, func(a *oei.Alarm) { a.Occurrence = 7 }); err == nil {
		p.Error("a member that is not a setting was changed")
	}
	_, err := c.PutAlarm(ctx, id, &oei.PutAlarmParams{IfMatch: new(`"1"`)},
		oei.AlarmUpdate{Rule: oei.AlarmRuleUpdate{Name: new(oei.Name("Late"))}})
	wantIs(p.T, err, oei.ErrChanged)
}

func driveNotifications(p *plant) {
	ctx, c := p.Context(), p.c
	ch := must(c.CreateNotificationChannel(ctx, oei.NotificationChannelCreate{
		Name: "Plant bus",
		Kind: oei.NotificationChannelKindMqtt,
	}))
	must(c.UpdateNotificationChannel(ctx, ch.ID,
		func(ch *oei.NotificationChannel) { ch.Name = "Bus" }))
	if got := must(c.NotificationChannel(ctx, ch.ID)); got.Name != "Bus" {
		p.Errorf("got %+v, want another name", got)
	}
	sent := must(c.TestNotificationChannel(ctx, ch.ID))
	must(c.NotificationDelivery(ctx, sent.ID))
	r := must(c.CreateNotificationRoute(ctx, oei.NotificationRouteCreate{
		Name:      "All",
		ChannelID: ch.ID,
	}))
	r = must(c.UpdateNotificationRoute(ctx, r.ID,
		func(r *oei.NotificationRoute) { r.RemindSeconds = 600 }))
	if got := must(c.NotificationRoute(ctx, r.ID)); got.RemindSeconds != 600 {
		p.Errorf("got %+v, want reminders", got)
	}
	s := must(c.CreateNotificationSilence(ctx, oei.NotificationSilenceCreate{
		GatewayID: &p.gateway.ID,
		EndsAt:    time.Now().Add(time.Hour),
		Reason:    "maintenance",
	}))
	must(c.EndNotificationSilence(ctx, s.ID))
	must(c.NotificationSilence(ctx, s.ID))
	for name, n := range map[string]int{
		"channels":   len(all(c.NotificationChannels(ctx, nil))),
		"routes":     len(all(c.NotificationRoutes(ctx, nil))),
		"silences":   len(all(c.NotificationSilences(ctx, nil))),
		"deliveries": len(all(c.NotificationDeliveries(ctx, nil))),
	} {
		if n != 1 {
			p.Errorf("%s: got %d, want 1", name, n)
		}
	}
	wantIs(p.T, c.DeleteNotificationChannel(ctx, ch.ID, nil), oei.ErrConflict)
	check(c.DeleteNotificationRoute(ctx, r.ID, nil))
	check(c.DeleteNotificationChannel(ctx, ch.ID, nil))
}

// driveLive receives a reading. The two deprecated addresses of WebSockets have no method; that the
// server has them is all that is noted.
func driveLive(p *plant) {
	for message, err := range p.c.Live(p.Context(), oei.FromSensor(p.sensor.ID), oei.Snapshot()) {
		if r, ok := must(message, err).(oei.LiveReading); ok && r.SensorID == p.sensor.ID {
			p.recorder.driven["openWebSocket"] = true
			break
		}
	}
	for _, path := range []string{"/ws/alarms", "/ws/sensors/1"} {
		_, err := p.c.Do(must(http.NewRequestWithContext(p.Context(), http.MethodGet, path, nil)))
		wantIs(p.T, err, oei.ErrUpgradeRequired)
	}
	p.recorder.driven["openAlarmWebSocket"], p.recorder.driven["openSensorWebSocket"] = true, true
}

func driveDeletions(p *plant) {
	ctx, c := p.Context(), p.c
	must(c.DeleteSensor(ctx, p.sensor.ID, nil))
	must(c.DeleteGateway(ctx, p.gateway.ID, &oei.DeleteGatewayParams{Cascade: new(true)}))
	_, err := c.Sensor(ctx, p.sensor.ID)
	wantIs(p.T, err, oei.ErrNotFound)
	check(c.Close())
	_, err = c.CurrentUser(ctx)
	if err == nil {
		p.Error("a closed client calls")
	}
}
