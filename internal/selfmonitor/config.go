package selfmonitor

import (
	"errors"
	"fmt"
	"time"
)

// Config says how often quantities are measured, and the first limits of their alarms. A quantity
// whose limit is 0 is not measured.
type Config struct {
	Interval            time.Duration `mapstructure:"interval"` // 0: never
	OfflineAfter        time.Duration `mapstructure:"offline_after"`
	ClockSkew           time.Duration `mapstructure:"clock_skew"`
	RejectionsPerMinute int           `mapstructure:"rejections_per_minute"` // of one gateway
	DiskFreePercent     int           `mapstructure:"disk_free_percent"`
	IngestLag           time.Duration `mapstructure:"ingest_lag"`
}

// DefaultConfig returns limits that raise no alarm in a healthy system.
func DefaultConfig() Config {
	return Config{
		Interval:            10 * time.Second,
		OfflineAfter:        2 * time.Minute,
		ClockSkew:           time.Minute,
		RejectionsPerMinute: 60,
		DiskFreePercent:     10,
		IngestLag:           30 * time.Second,
	}
}

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var errs []error
	between := func(name string, d, low, high time.Duration, unit string) {
		if d != 0 && (d < low || d > high) {
			errs = append(errs,
				fmt.Errorf("%s: %v is out of range; use %s, or 0s for none", name, d, unit))
		}
	}
	between("OEI_MONITOR_INTERVAL", c.Interval, time.Second, 5*time.Minute, "1s to 5m")
	between("OEI_MONITOR_OFFLINE_AFTER", c.OfflineAfter, time.Second, 7*24*time.Hour, "1s to 168h")
	between("OEI_MONITOR_CLOCK_SKEW", c.ClockSkew, time.Second, 24*time.Hour, "1s to 24h")
	between("OEI_MONITOR_INGEST_LAG", c.IngestLag, time.Second, 24*time.Hour, "1s to 24h")
	if c.RejectionsPerMinute < 0 {
		errs = append(errs,
			fmt.Errorf("OEI_MONITOR_REJECTIONS_PER_MINUTE: %d is negative; use 1 or more, or 0 "+
				"for none",
				c.RejectionsPerMinute))
	}
	if c.DiskFreePercent < 0 || c.DiskFreePercent > 90 {
		errs = append(errs,
			fmt.Errorf("OEI_MONITOR_DISK_FREE_PERCENT: %d is out of range; use 1 to 90, or 0 for "+
				"none",
				c.DiskFreePercent))
	}
	return errors.Join(errs...)
}
