// Package mqttsource takes messages from an external MQTT broker and feeds them to the ingest
// pipeline. It acknowledges a message to the broker after its COMMIT, sends receipts, and
// publishes alarm events. It keeps no message state of its own: the broker's session does.
package mqttsource

import (
	"errors"
	"fmt"
	"time"

	"github.com/oei-ms/oei-ms/ingest"
)

// Config says where the external broker is. The broker keeps a session for this client while
// the client is away, so the client id must be stable and differ between instances.
type Config struct {
	Host     string `mapstructure:"host"` // empty: there is no external broker
	Port     int    `mapstructure:"port"`
	Username string `mapstructure:"username"`
	Password string `mapstructure:"password"`
	TLS      bool   `mapstructure:"tls"`
	// empty: made from the host name
	ClientID string `mapstructure:"client_id"`
	// the same for all instances; messages are lost to any other client that joins the group
	ShareGroup string `mapstructure:"share_group"`
	// in-flight window: unacknowledged messages that the broker may send
	ReceiveMaximum int           `mapstructure:"receive_maximum"`
	SessionExpiry  time.Duration `mapstructure:"session_expiry"`
}

// DefaultConfig suits one instance, or several that share the work, once ShareGroup is set to
// an unguessable name.
func DefaultConfig() Config {
	return Config{Port: 1883, ReceiveMaximum: 1000, SessionExpiry: 7 * 24 * time.Hour}
}

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var errs []error
	invalid := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(format, args...))
	}
	if c.Port < 0 || c.Port > 65535 || c.Port == 0 && c.Host != "" {
		invalid("MQTT_PORT: %d is not a port; use 1 to 65535", c.Port)
	}
	if c.ReceiveMaximum < 1 || c.ReceiveMaximum > 65535 {
		invalid("OEI_MQTT_RECEIVE_MAXIMUM: %d is out of range; use 1 to 65535", c.ReceiveMaximum)
	}
	if c.SessionExpiry < 24*time.Hour {
		invalid("OEI_MQTT_SESSION_EXPIRY: %v is too short to outlast an outage; use 24h or more",
			c.SessionExpiry)
	}
	if c.ShareGroup != "" && !ingest.IsKey(c.ShareGroup) {
		invalid("OEI_MQTT_SHARE_GROUP: %q is not a name; "+
			"use letters, digits, dots, dashes and underscores", c.ShareGroup)
	}
	return errors.Join(errs...)
}
