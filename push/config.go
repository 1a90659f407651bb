package push

import (
	"errors"
	"fmt"

	"github.com/oei-ms/oei-ms/internal/origin"
)

// Config limits what clients may use. Every limit is at least 1.
type Config struct {
	// AllowedOrigins may connect in addition to the server's own, as https://host[:port].
	AllowedOrigins []string `mapstructure:"allowed_origins"`
	// MaxConnections limits all clients together.
	MaxConnections int `mapstructure:"max_connections"`
	// MaxConnectionsPerUser limits authenticated connections of a user.
	MaxConnectionsPerUser int `mapstructure:"max_connections_per_user"`
	// MaxConnectionsPerAddress limits connections from the host of RemoteAddr.
	MaxConnectionsPerAddress int `mapstructure:"max_connections_per_address"`
	// HandshakesPerSecond limits the handshakes of all clients, on average.
	HandshakesPerSecond int `mapstructure:"handshakes_per_second"`
	// HandshakeBurst limits the handshakes of all clients at once.
	HandshakeBurst int `mapstructure:"handshake_burst"`
	// MaxTopics limits the topics of one connection.
	MaxTopics int `mapstructure:"max_topics"`
	// MaxFrameBytes limits one message of a client.
	MaxFrameBytes int `mapstructure:"max_frame_bytes"`
	// FramesPerSecond limits the messages of one client, on average.
	FramesPerSecond int `mapstructure:"frames_per_second"`
	// FrameBurst limits the messages of one client at once.
	FrameBurst int `mapstructure:"frame_burst"`
	// QueueSize is how many updates wait for one client before they conflate. It should exceed what
	// one commit has for a client.
	QueueSize int `mapstructure:"queue_size"`
	// AlarmQueueSize is how many alarm events wait for one client before it is closed.
	AlarmQueueSize int `mapstructure:"alarm_queue_size"`
	// ShardedRelay spreads the messages between instances over the shards of a Redis Cluster 7.
	ShardedRelay bool `mapstructure:"sharded_relay"`
}

// DefaultConfig suits an instance with some thousands of clients.
func DefaultConfig() Config {
	return Config{
		MaxConnections:           20_000,
		MaxConnectionsPerUser:    100,
		MaxConnectionsPerAddress: 2_000,
		HandshakesPerSecond:      500,
		HandshakeBurst:           2_000,
		MaxTopics:                1_000,
		MaxFrameBytes:            64 << 10,
		FramesPerSecond:          20,
		FrameBurst:               100,
		QueueSize:                1_024,
		AlarmQueueSize:           1_024,
	}
}

// Validate returns the faults of all settings, each with the remedy.
func (c Config) Validate() error {
	var faults []error
	for _, s := range []struct {
		name     string
		value    int
		min, max int
	}{
		{"OEI_PUSH_MAX_CONNECTIONS", c.MaxConnections, 1, 1_000_000},
		{"OEI_PUSH_MAX_CONNECTIONS_PER_USER", c.MaxConnectionsPerUser, 1, 1_000_000},
		{"OEI_PUSH_MAX_CONNECTIONS_PER_ADDRESS", c.MaxConnectionsPerAddress, 1, 1_000_000},
		{"OEI_PUSH_HANDSHAKES_PER_SECOND", c.HandshakesPerSecond, 1, 100_000},
		{"OEI_PUSH_HANDSHAKE_BURST", c.HandshakeBurst, 1, 100_000},
		{"OEI_PUSH_MAX_TOPICS", c.MaxTopics, 1, 100_000},
		{"OEI_PUSH_MAX_FRAME_BYTES", c.MaxFrameBytes, 1 << 10, 1 << 20},
		{"OEI_PUSH_FRAMES_PER_SECOND", c.FramesPerSecond, 1, 10_000},
		{"OEI_PUSH_FRAME_BURST", c.FrameBurst, 1, 10_000},
		{"OEI_PUSH_QUEUE_SIZE", c.QueueSize, 1, 100_000},
		{"OEI_PUSH_ALARM_QUEUE_SIZE", c.AlarmQueueSize, 1, 100_000},
	} {
		if s.value < s.min || s.value > s.max {
			faults = append(faults,
				fmt.Errorf("%s: %d is out of range; use %d to %d", s.name, s.value, s.min, s.max))
		}
	}
	faults = append(faults, origin.Check("OEI_PUSH_ALLOWED_ORIGINS", c.AllowedOrigins))
	return errors.Join(faults...)
}
