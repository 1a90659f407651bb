// Package configs reads the settings of every package from flags, the environment, .env, a file and
// the defaults, and checks them. Each section is the Config of its package, which validates itself.
package configs

import (
	"cmp"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/auth"
	"github.com/oei-ms/oei-ms/internal/broker"
	"github.com/oei-ms/oei-ms/internal/cache"
	"github.com/oei-ms/oei-ms/internal/mqttsource"
	"github.com/oei-ms/oei-ms/internal/postgres"
	"github.com/oei-ms/oei-ms/internal/selfmonitor"
	"github.com/oei-ms/oei-ms/notify"
	"github.com/oei-ms/oei-ms/push"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// Config is every setting of the program. It is what default.yaml describes, key by key. Printing
// or logging it shows no secret; printing one of its sections does.
type Config struct {
	Environment string `mapstructure:"environment"` // Development or Production
	Debug       bool   `mapstructure:"debug"`
	// absolute once loaded; empty when there is no usual place for it
	DataDir        string `mapstructure:"data_dir"`
	AllowPlaintext bool   `mapstructure:"allow_plaintext"`

	Log      Log                `mapstructure:"log"`
	Database Database           `mapstructure:"database"`
	Store    store.Config       `mapstructure:"store"`
	Cache    cache.Config       `mapstructure:"cache"`
	Server   server.Config      `mapstructure:"server"`
	Auth     auth.Config        `mapstructure:"server"` // shares the section of Server
	Query    server.QueryConfig `mapstructure:"query"`
	// Port is also where the broker in the process listens
	MQTT    mqttsource.Config  `mapstructure:"mqtt"`
	Ingest  ingest.Config      `mapstructure:"ingest"`
	Broker  broker.Config      `mapstructure:"broker"`
	Cluster postgres.Config    `mapstructure:"cluster"`
	Push    push.Config        `mapstructure:"push"`
	Notify  notify.Config      `mapstructure:"notify"`
	Monitor selfmonitor.Config `mapstructure:"monitor"`

	origins map[string]string // where the value of a key comes from; absent: the defaults
}

// The environments. Production refuses settings that are fit for trials only.
const (
	Development = "development"
	Production  = "production"
)

// Log says what is logged and how.
type Log struct {
	Level  string `mapstructure:"level"`  // debug, info, warn or error
	Format string `mapstructure:"format"` // text or json
}

// Database says where the database is.
type Database struct {
	URL string `mapstructure:"url"` // empty: a private PostgreSQL cluster in the data directory
}

// PrivateDatabase reports whether the database is a private cluster, made and run by this program.
func (c *Config) PrivateDatabase() bool { return c.Database.URL == "" }

// OwnBroker reports whether gateways connect to the broker in this process, not to an external one.
func (c *Config) OwnBroker() bool { return c.MQTT.Host == "" }

// BrokerHost is the address on which the broker in this process listens.
func (c *Config) BrokerHost() string { return cmp.Or(c.Broker.Host, c.Server.Host) }

// levels are the names of log levels, with those of other systems.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn,
	"warning": slog.LevelWarn,
	"error":   slog.LevelError, "critical": slog.LevelError,
}

// Logger makes the program's logger, which writes to w.
func (c *Config) Logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: levels[strings.ToLower(c.Log.Level)]}
	if c.Debug {
		options.Level = slog.LevelDebug
	}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// complete derives the settings that follow from others.
func (c *Config) complete(lookup func(string) string) {
	if c.DataDir == "" {
		c.DataDir = defaultDataDir(runtime.GOOS, os.Geteuid() == 0, lookup)
	}
	if abs, err := filepath.Abs(c.DataDir); err == nil && c.DataDir != "" &&
		!strings.HasPrefix(c.DataDir, "~") {
		c.DataDir = abs
	}
	if c.DataDir != "" {
		c.Cluster.DataDir = filepath.Join(c.DataDir, "postgres")
	}
	c.Database.URL = withoutDriver(c.Database.URL)
	c.nameShareGroup()
}

// withoutDriver turns postgresql+asyncpg://…?ssl=require, a form that the predecessor of this
// system accepted, into postgresql://…?sslmode=require.
func withoutDriver(dsn string) string {
	scheme, rest, ok := strings.Cut(dsn, "://")
	name, _, driver := strings.Cut(scheme, "+")
	if !ok || !driver || name != "postgresql" && name != "postgres" {
		return dsn
	}
	address, query, _ := strings.Cut(rest, "?")
	parameters := strings.Split(query, "&")
	for i, p := range parameters {
		if mode, isMode := strings.CutPrefix(p, "ssl="); isMode {
			parameters[i] = "sslmode=" + mode
		}
	}
	return strings.TrimSuffix(name+"://"+address+"?"+strings.Join(parameters, "&"), "?")
}

// defaultDataDir returns the usual directory for data on a system, or "" when the environment does
// not tell.
func defaultDataDir(system string, root bool, lookup func(string) string) string {
	under := func(base string, rest ...string) string {
		if base == "" {
			return ""
		}
		return filepath.Join(append([]string{base}, rest...)...)
	}
	switch {
	case system == "windows":
		return under(lookup("LOCALAPPDATA"), "oei-ms")
	case root:
		return "/var/lib/oei-ms"
	case system == "darwin":
		return under(lookup("HOME"), "Library", "Application Support", "oei-ms")
	case filepath.IsAbs(lookup("XDG_DATA_HOME")):
		return under(lookup("XDG_DATA_HOME"), "oei-ms")
	}
	return under(lookup("HOME"), ".local", "share", "oei-ms")
}
