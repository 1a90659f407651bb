package push

import (
	"errors"
	"fmt"

	"github.com/oei-ms/oei-ms/internal/origin"
)

// Config bounds what clients may take. Every limit is at least 1.
type Config struct {
	// beside the server's own, as https://host[:port]
	AllowedOrigins []string `mapstructure:"allowed_origins"`
	// of the whole hub
	MaxConnections int `mapstructure:"max_connections"`
	// once authenticated
	MaxConnectionsPerUser int `mapstructure:"max_connections_per_user"`
	// by the host of the request's RemoteAddr
	MaxConnectionsPerAddress int `mapstructure:"max_connections_per_address"`
	// of the whole hub, in the long run
	HandshakesPerSecond int `mapstructure:"handshakes_per_second"`
	// of the whole hub, at once
	HandshakeBurst int `mapstructure:"handshake_burst"`
	// of one connection
	MaxTopics int `mapstructure:"max_topics"`
	// of one message from a client
	MaxFrameBytes int `mapstructure:"max_frame_bytes"`
	// from one client, in the long run
	FramesPerSecond int `mapstructure:"frames_per_second"`
	// from one client, at once
	FrameBurst int `mapstructure:"frame_burst"`
	// updates waiting for one client before they conflate; take more than a commit brings to one
	QueueSize int `mapstructure:"queue_size"`
	// alarm events waiting for one client before it is closed
	AlarmQueueSize int `mapstructure:"alarm_queue_size"`
	// Redis Cluster 7 or newer: spread what instances tell each other over its shards
	ShardedRelay bool `mapstructure:"sharded_relay"`
}

// DefaultConfig suits one instance with some thousands of clients.
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

// Validate returns every fault at once, each with the setting's name and what would be right.
func (c Config) Validate() error {
	var faults []error
	for _, s := range []struct {
		name       string
		value      int
		least, top int
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
		if s.value < s.least || s.value > s.top {
			faults = append(faults,
				fmt.Errorf("%s: %d is out of range; use %d to %d", s.name, s.value, s.least, s.top))
		}
	}
	return errors.Join(append(faults, origin.Check("OEI_PUSH_ALLOWED_ORIGINS", c.AllowedOrigins))...)
}
