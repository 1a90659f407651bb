//go:build unix

package postgres

import (
	"fmt"
	"maps"
	"slices"
)

// serverSettings returns the settings of a server for a machine with memory bytes of RAM (0:
// unknown).
func serverSettings(cfg Config, memory int64, lz4 bool) map[string]string {
	const mib = 1 << 20
	buffers := min(max(memory/8, 128*mib), 1024*mib)
	s := map[string]string{
		"shared_buffers":            fmt.Sprintf("%dMB", buffers/mib),
		"effective_cache_size":      fmt.Sprintf("%dMB", max(memory/2, 2*buffers)/mib),
		"max_connections":           "100",
		"max_locks_per_transaction": "256", // a partition takes two, and a statement reads many
		"max_wal_size":              "2GB",
		"checkpoint_timeout":        "15min",
		"random_page_cost":          "1.1", // solid-state disks
		"jit":                       "off",
		"timezone":                  "UTC",
		"log_timezone":              "UTC",
		"log_checkpoints":           "off",
		"log_min_error_statement":   "panic", // a statement may contain secrets
	}
	if lz4 {
		s["wal_compression"] = "lz4"
	}
	if cfg.Ephemeral {
		s["shared_buffers"] = "64MB"
		s["max_connections"] = "200"
	}
	maps.Copy(s, cfg.Settings)
	maps.Copy(s, map[string]string{
		"lc_messages":        "C", // errorsIn reads them
		"log_destination":    "stderr",
		"logging_collector":  "off",
		"log_line_prefix":    "%m [%p] ",
		"fsync":              onOff(!cfg.Ephemeral),
		"full_page_writes":   onOff(!cfg.Ephemeral),
		"synchronous_commit": onOff(!cfg.Ephemeral),
	})
	return s
}

// options returns settings as arguments of postgres, which rank above any configuration file.
func options(settings map[string]string) []string {
	var args []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
