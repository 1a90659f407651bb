package mqttsource_test

import (
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/internal/mqttsource"
)

func TestConfig_NamesEveryInvalidSetting(t *testing.T) {
	if err := mqttsource.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := mqttsource.Config{Port: 70000, ShareGroup: "a/b"}.Validate()
	for _, want := range []string{
		"MQTT_PORT: 70000 is not a port; use 1 to 65535",
		"OEI_MQTT_RECEIVE_MAXIMUM: 0 is",
		"OEI_MQTT_SESSION_EXPIRY: 0s is",
		`OEI_MQTT_SHARE_GROUP: "a/b" is`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %s", err, want)
		}
	}
}
