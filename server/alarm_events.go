package server

import (
	"time"

	"github.com/oei-ms/oei-ms/internal/timejson"
	"github.com/oei-ms/oei-ms/store"
)

// AlarmEventJSON is e as live connections have it.
func AlarmEventJSON(e store.AlarmEvent) []byte {
	b, _ := timejson.Marshal(struct { // text and numbers; a value is finite
		Epoch       string    `json:"epoch"`
		Offset      int64     `json:"offset"`
		At          time.Time `json:"at"`
		RecordedAt  time.Time `json:"recorded_at"`
		AlarmID     int64     `json:"alarm_id"`
		SensorID    int64     `json:"sensor_id"`
		GatewayID   int64     `json:"gateway_id"`
		Occurrence  int64     `json:"occurrence"`
		Version     int64     `json:"version"`
		RuleVersion int64     `json:"rule_version"`
		Kind        string    `json:"kind"`
		Before      string    `json:"before"`
		After       string    `json:"after"`
		Level       string    `json:"level"`
		Severity    string    `json:"severity"`
		Value       *float64  `json:"value"`
		Message     string    `json:"message"`
		User        string    `json:"user"`
		Comment     string    `json:"comment"`
		Quiet       bool      `json:"quiet"`
	}{
		e.Epoch, e.Offset, e.At.UTC(), e.RecordedAt.UTC(), e.AlarmID, e.SensorID, e.GatewayID,
		e.Occurrence, e.StateVersion, e.RuleVersion, e.Kind,
		e.Before, e.After, e.Level, e.Severity, e.Value, e.Message, e.User, e.Comment, e.Quiet,
	})
	return b
}
