// Package ingest takes readings from an MQTT message to a commit: decode, batch, commit,
// acknowledge.
package ingest

import (
	"errors"
	"fmt"
	"time"
)

// Config says how readings are batched into transactions, and what is rejected.
type Config struct {
	// concurrent transactions; a gateway's messages stay in order
	Committers int `mapstructure:"committers"`
	// readings in a transaction; a single message may have more
	BatchRows int `mapstructure:"batch_rows"`
	// within which messages are acknowledged when the database is not slow; 0: none waits
	TargetLatency time.Duration `mapstructure:"target_latency"`
	// in-flight window: memory of messages that are not committed; over it publishers wait
	MaxBytes int64 `mapstructure:"max_bytes"`
	// bytes of a message; a larger one is rejected
	MaxPayload int           `mapstructure:"max_payload"`
	MaxAge     time.Duration `mapstructure:"max_age"` // older readings are rejected
	// readings further in the future are rejected
	MaxAhead time.Duration `mapstructure:"max_ahead"`

	// rejections that are kept, the newest
	MaxRejections int `mapstructure:"max_rejections_per_gateway"`
	// how long rejections are kept
	RejectionRetention time.Duration `mapstructure:"rejection_retention"`
}

// DefaultConfig suits one instance on a small machine.
func DefaultConfig() Config {
	return Config{
		Committers:    2,
		BatchRows:     20_000,
		TargetLatency: 20 * time.Millisecond,
		MaxBytes:      14_200_000,
		MaxPayload:    1 << 20,
		MaxAge:        10 * 365 * 24 * time.Hour,
		MaxAhead:      5 * time.Minute,

		MaxRejections:      10_000,
		RejectionRetention: 30 * 24 * time.Hour,
	}
}

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var errs []error
	invalid := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Committers < 1 || c.Committers > 64 {
		invalid("OEI_INGEST_COMMITTERS: %d is out of range; use 1 to 64", c.Committers)
	}
	if c.BatchRows < 1 || c.BatchRows > 100_000 {
		invalid("OEI_INGEST_BATCH_ROWS: %d is out of range; use 1 to 100000", c.BatchRows)
	}
	if c.TargetLatency < 0 || c.TargetLatency > time.Second {
		invalid("OEI_INGEST_TARGET_LATENCY: %v is out of range; use 0s to 1s", c.TargetLatency)
	}
	if c.MaxPayload < 1<<10 || c.MaxPayload > 16<<20 {
		invalid("OEI_INGEST_MAX_PAYLOAD: %d is out of range; use 1024 to 16777216 bytes",
			c.MaxPayload)
	}
	if minimum := 4 * cost(c.MaxPayload, maxSamples); c.MaxBytes < minimum {
		invalid("OEI_INGEST_MAX_BYTES: %d holds too little; "+
			"use at least %d, four of the largest messages", c.MaxBytes, minimum)
	}
	if c.MaxAge < 24*time.Hour {
		invalid("OEI_INGEST_MAX_AGE: %v is too short; use 24h or more", c.MaxAge)
	}
	if c.MaxAhead < 0 || c.MaxAhead > 24*time.Hour {
		invalid("OEI_INGEST_MAX_AHEAD: %v is out of range; use 0s to 24h", c.MaxAhead)
	}
	if c.MaxRejections < 1 || c.MaxRejections > 1_000_000 {
		invalid("OEI_INGEST_MAX_REJECTIONS_PER_GATEWAY: %d is out of range; use 1 to 1000000",
			c.MaxRejections)
	}
	if c.RejectionRetention < time.Hour {
		invalid("OEI_INGEST_REJECTION_RETENTION: %v is too short; use 1h or more",
			c.RejectionRetention)
	}
	return errors.Join(errs...)
}
