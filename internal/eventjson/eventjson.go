// Package eventjson converts alarm events from rows of the store to the contract's types. Every
// alarm event that leaves the program, in an answer, on a WebSocket or in a notification, gets its
// form here.
package eventjson

import (
	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/store"
)

// Alarm returns e as AlarmEvent of the contract.
func Alarm(e store.AlarmEvent) api.AlarmEvent {
	return api.AlarmEvent{
		Epoch:        e.Epoch,
		Offset:       e.Offset,
		At:           e.At.UTC(),
		RecordedAt:   e.RecordedAt.UTC(),
		AlarmID:      e.AlarmID,
		SensorID:     e.SensorID,
		GatewayID:    e.GatewayID,
		Occurrence:   e.Occurrence,
		StateVersion: e.StateVersion,
		RuleVersion:  e.RuleVersion,
		Kind:         api.AlarmEventKind(e.Kind),
		Before:       api.AlarmState(e.Before),
		After:        api.AlarmState(e.After),
		Level:        e.Level,
		Severity:     api.Severity(e.Severity),
		Value:        orNull(e.Value),
		Message:      e.Message,
		User:         e.User,
		Comment:      e.Comment,
		Quiet:        e.Quiet,
	}
}

// Notification returns e as NotificationEvent of the contract.
func Notification(e store.NotificationEvent) api.NotificationEvent {
	labels := api.Tags{}
	if e.Labels != nil {
		labels = api.Tags(e.Labels)
	}
	return api.NotificationEvent{
		Epoch:        e.Epoch,
		Offset:       e.Offset,
		At:           e.At.UTC(),
		AlarmID:      e.AlarmID,
		SensorID:     e.SensorID,
		GatewayID:    e.GatewayID,
		Occurrence:   e.Occurrence,
		StateVersion: e.Version,
		Alarm:        e.Alarm,
		Sensor:       e.Sensor,
		Gateway:      e.Gateway,
		SensorName:   e.SensorName,
		GatewayName:  e.GatewayName,
		Kind:         api.AlarmEventKind(e.Kind),
		State:        api.AlarmState(e.State),
		Severity:     api.Severity(e.Severity),
		Level:        e.Level,
		Value:        orNull(e.Value),
		Unit:         e.Unit,
		Message:      e.Message,
		User:         e.User,
		Comment:      e.Comment,
		Labels:       labels,
	}
}

func orNull(v *float64) nullable.Nullable[float64] {
	if v == nil {
		return nullable.NewNullNullable[float64]()
	}
	return nullable.NewNullableWithValue(*v)
}
