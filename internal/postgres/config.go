package postgres

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// Database is the database that Start creates in a new cluster, and the name of its only role.
const Database = "oei_ms"

// ErrNoPostgres says that no usable PostgreSQL programs were found on this machine. The error that
// wraps it names the places searched in, the command that installs them, and DATABASE_URL as the
// other way.
var ErrNoPostgres = errors.New("PostgreSQL's programs were not found on this machine")

// Config describes a private PostgreSQL cluster.
type Config struct {
	// DataDir is the cluster's directory; it is created when missing. Started as root, the server
	// runs as another user, who must be able to enter every directory above it.
	DataDir string `mapstructure:"-"`

	// BinDir holds postgres and initdb; "" searches PATH and the usual places.
	BinDir string `mapstructure:"bin_dir"`

	// Ephemeral trades durability for speed: for data that is thrown away afterwards.
	Ephemeral bool `mapstructure:"-"`

	// Settings are those of PostgreSQL, such as shared_buffers; they override the ones Start
	// chooses.
	Settings map[string]string `mapstructure:"settings"`
}

var settingName = regexp.MustCompile(`^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$`)

// reserved are the settings on which supervision and the promise "acknowledged means committed"
// depend.
var reserved = []string{
	"config_file", "data_directory", "external_pid_file", "fsync", "full_page_writes", "hba_file",
	"lc_messages",
	"listen_addresses", "log_destination", "log_line_prefix", "logging_collector", "port",
	"synchronous_commit",
	"unix_socket_directories", "unix_socket_group", "unix_socket_permissions",
}

// Validate returns every fault of the configuration, joined.
func (c Config) Validate() error {
	var faults []error
	if c.DataDir == "" {
		faults = append(faults,
			errors.New("DATA_DIR: is empty; set a directory for the private PostgreSQL cluster"))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
		switch {
		case !settingName.MatchString(name):
			faults = append(faults,
				fmt.Errorf("PostgreSQL setting %q: is not a valid name; use one such as "+
					"shared_buffers", name))
		case slices.Contains(reserved, name):
			faults = append(faults,
				fmt.Errorf("PostgreSQL setting %s: cannot be changed in the private cluster; "+
					"remove it, or run your own server and set DATABASE_URL", name))
		}
	}
	return errors.Join(faults...)
}
