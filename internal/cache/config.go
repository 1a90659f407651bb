// Package cache keeps answers for as long as the readings that they are made of stay what they are.
package cache

import (
	"errors"
	"fmt"
)

// Config says how much is kept.
type Config struct {
	// in this process; 0: nothing is kept, neither here nor in Redis
	Bytes     int64 `mapstructure:"bytes"`
	MaxAnswer int64 `mapstructure:"max_answer"` // bytes of the largest answer that is kept
}

// DefaultConfig has room for some hundred charts.
func DefaultConfig() Config { return Config{Bytes: 64 << 20, MaxAnswer: 4 << 20} }

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var errs []error
	if c.Bytes != 0 && (c.Bytes < 1<<20 || c.Bytes > 64<<30) {
		errs = append(errs,
			fmt.Errorf("OEI_CACHE_BYTES: %d is out of range; use 1048576 to 68719476736 bytes, or 0 for no cache", c.Bytes))
	}
	if c.MaxAnswer < 1<<10 || c.MaxAnswer > 16<<20 {
		errs = append(errs,
			fmt.Errorf("OEI_CACHE_MAX_ANSWER: %d is out of range; use 1024 to 16777216 bytes",
				c.MaxAnswer))
	}
	return errors.Join(errs...)
}
