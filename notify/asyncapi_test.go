package notify

import (
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/internal/asyncapitest"
	"github.com/oei-ms/oei-ms/store"
)

// TestAsyncAPI_HasEveryMQTTMessage compares the messages about alarms with those that sendMQTT
// publishes.
func TestAsyncAPI_HasEveryMQTTMessage(t *testing.T) {
	document := asyncapitest.Read(t)
	documented, kinds := map[string]bool{}, map[string]bool{}
	for _, message := range []string{"AlarmNotification", "AlarmTest"} {
		for _, kind := range document.Schema(t, message).Properties["type"].Value.Enum {
			documented[kind.(string)] = true
		}
	}
	for _, kind := range []string{
		store.KindNotification, store.KindReminder, store.KindEscalation, store.KindTest,
	} {
		kinds["alarm."+kind] = true
	}
	for _, line := range asyncapitest.Differences(documented, kinds) {
		t.Error("types: " + line)
	}
	event := document.Schema(t, "NotificationEvent")
	members := map[string]bool{"id": true, "type": true}
	for name := range event.Properties {
		members[name] = true
	}
	message := document.Schema(t, "AlarmNotification")
	for _, line := range asyncapitest.Differences(message.Properties, members) {
		t.Error("AlarmNotification: " + line)
	}
	if len(message.Required) != len(event.Required)+2 {
		t.Errorf("AlarmNotification requires %s", strings.Join(message.Required, ", "))
	}
}
