// Package cache holds encoded answers to queries for readings, in memory and in Redis, for as long
// as their readings do not change: it polls the store for changes by transaction. It knows neither
// HTTP nor what the answers say; server calls it.
package cache

import (
	"errors"
	"fmt"
)

// Config bounds what is kept.
type Config struct {
	// Bytes of memory of this process; 0 turns the cache off, also in Redis.
	Bytes     int64 `mapstructure:"bytes"`
	MaxAnswer int64 `mapstructure:"max_answer"` // bytes; larger answers are not kept
}

// DefaultConfig has room for some hundred charts.
func DefaultConfig() Config { return Config{Bytes: 64 << 20, MaxAnswer: 4 << 20} }

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var errs []error
	if c.Bytes != 0 && (c.Bytes < 1<<20 || c.Bytes > 64<<30) {
		errs = append(errs,
			fmt.Errorf("OEI_CACHE_BYTES: %d is out of range; use 1048576 to 68719476736 bytes, "+
				"or 0 for no cache", c.Bytes))
	}
	if c.MaxAnswer < 1<<10 || c.MaxAnswer > 16<<20 {
		errs = append(errs,
			fmt.Errorf("OEI_CACHE_MAX_ANSWER: %d is out of range; use 1024 to 16777216 bytes",
				c.MaxAnswer))
	}
	return errors.Join(errs...)
}
