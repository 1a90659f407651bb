package configs

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

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

// sources are what a configuration is read from.
type sources struct {
	flags  []string
	env    []string
	dotenv string
	file   string            // oei-ms.yaml
	files  map[string]string // others, by name
}

// load reads a configuration from a directory of its own. It stands for $DIR in variables, flags
// and texts.
func load(t *testing.T, from sources) (*Config, error) {
	t.Helper()
	return loadIn(t, t.TempDir(), from)
}

func loadIn(t *testing.T, dir string, from sources) (*Config, error) {
	t.Helper()
	write := func(name, text string) {
		if text == "" {
			return
		}
		if err := os.WriteFile(filepath.Join(dir, name),
			[]byte(strings.ReplaceAll(text, "$DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(".env", from.dotenv)
	write(fileName, from.file)
	for name, text := range from.files {
		write(name, text)
	}
	here := func(list []string) []string {
		out := []string{}
		for _, s := range list {
			out = append(out, strings.ReplaceAll(s, "$DIR", dir))
		}
		return out
	}
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(set)
	if err := set.Parse(here(from.flags)); err != nil {
		t.Fatal(err)
	}
	return Load(Options{Flags: set, Environ: append(here(from.env), "HOME="+dir), Dir: dir})
}

func mustLoad(t *testing.T, from sources) *Config {
	t.Helper()
	c, err := load(t, from)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoad_FirstSourceWins(t *testing.T) {
	file := "server: {port: 1004}"
	tests := map[string]struct {
		from sources
		want int
	}{
		"nothing set":          {sources{}, 8000},
		"the file":             {sources{file: file}, 1004},
		".env before the file": {sources{dotenv: "PORT=1003", file: file}, 1003},
		"the environment before .env": {
			sources{env: []string{"PORT=1002"}, dotenv: "PORT=1003", file: file}, 1002,
		},
		"flags before all": {
			sources{
				flags:  []string{"--port=1001"},
				env:    []string{"PORT=1002"},
				dotenv: "PORT=1003",
				file:   file,
			},
			1001,
		},
		"an empty variable counts as none": {
			sources{env: []string{"PORT="}, dotenv: "PORT=", file: file}, 1004,
		},
		"the name by section": {
			sources{env: []string{"OEI_SERVER_PORT=1005"}}, 1005,
		},
		"the name by section before the known": {
			sources{env: []string{"PORT=1002", "OEI_SERVER_PORT=1005"}}, 1005,
		},
		"the environment before .env, any name": {
			sources{env: []string{"PORT=1002"}, dotenv: "OEI_SERVER_PORT=1005"}, 1002,
		},
		"a file named by flag": {
			sources{
				flags: []string{"--config=$DIR/other"},
				file:  file,
				files: map[string]string{"other": "server:\n  port: 1006"},
			},
			1006,
		},
		"a file named by variable": {
			sources{
				env:   []string{"OEI_CONFIG=$DIR/other.yml"},
				files: map[string]string{"other.yml": "server: {port: 1006}"},
			},
			1006,
		},
		"a file named in .env": {
			sources{
				dotenv: "OEI_CONFIG=$DIR/other.yml",
				files:  map[string]string{"other.yml": "server: {port: 1006}"},
			},
			1006,
		},
		"an empty value in the file": {sources{file: "server:\n  port:\n"}, 8000},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := mustLoad(t, test.from).Server.Port; got != test.want {
				t.Errorf("got port %d, want %d", got, test.want)
			}
		})
	}
}

func TestDatabaseURL_OfTheOldDriver(t *testing.T) {
	for _, test := range []struct{ dsn, want string }{
		{"postgresql+asyncpg://u:p@localhost/x", "postgresql://u:p@localhost/x"},
		{"postgres+psycopg2://u:p@db/x?sslmode=require", "postgres://u:p@db/x?sslmode=require"},
		{"postgresql+asyncpg://u:p@db/x?ssl=require", "postgresql://u:p@db/x?sslmode=require"},
		{
			"postgresql+asyncpg://u:p@db/x?application_name=a&ssl=disable",
			"postgresql://u:p@db/x?application_name=a&sslmode=disable",
		},
		{"postgresql://u:p@db/x?ssl=require", "postgresql://u:p@db/x?ssl=require"},
		{"host=db user=u password=a+b://c", "host=db user=u password=a+b://c"},
	} {
		if got := mustLoad(t,
			sources{env: []string{"DATABASE_URL=" + test.dsn}}).Database.URL; got != test.want {
			t.Errorf("%s: got %s, want %s", test.dsn, got, test.want)
		}
	}
}

func TestLoad_ReadsThePredecessorsVariables(t *testing.T) {
	c := mustLoad(t, sources{env: []string{
		"HOST=127.0.0.1", "PORT=8100", "DATABASE_URL=postgresql+asyncpg://u:p@db/x",
		"REDIS_URL=redis://cache:6379/0", "MQTT_HOST=broker",
		"MQTT_PORT=8883", "MQTT_USERNAME=m", "MQTT_PASSWORD= mp ",
		"SECRET_KEY=0123456789abcdefghijklmnopqrstuvwxyz", "DEBUG=True",
		"ACCESS_TOKEN_EXPIRE_MINUTES=45", "LOG_LEVEL=WARNING", "DATA_DIR=/data",
		"ADMIN_USERNAME=root", "ADMIN_PASSWORD=correct horse",
		"ENVIRONMENT=development",
	}})
	for _, check := range []struct{ name, got, want string }{
		{"HOST", c.Server.Host, "127.0.0.1"},
		{"PORT", strconv.Itoa(c.Server.Port), "8100"},
		{"DATABASE_URL", c.Database.URL, "postgresql://u:p@db/x"},
		{"REDIS_URL", c.Auth.RedisURL, "redis://cache:6379/0"},
		{"MQTT_HOST", c.MQTT.Host, "broker"},
		{"MQTT_PORT", strconv.Itoa(c.MQTT.Port), "8883"},
		{"MQTT_USERNAME", c.MQTT.Username, "m"},
		{"MQTT_PASSWORD", c.MQTT.Password, " mp "},
		{"SECRET_KEY", c.Auth.SecretKey, "0123456789abcdefghijklmnopqrstuvwxyz"},
		{"ACCESS_TOKEN_EXPIRE_MINUTES", c.Auth.AccessTTL.String(), "45m0s"},
		{"LOG_LEVEL", c.Log.Level, "WARNING"},
		{"DATA_DIR", c.Cluster.DataDir, "/data/postgres"},
		{"ADMIN_USERNAME", c.Auth.AdminUsername, "root"},
		{"ADMIN_PASSWORD", c.Auth.AdminPassword, "correct horse"},
	} {
		if check.got != check.want {
			t.Errorf("%s: got %q, want %q", check.name, check.got, check.want)
		}
	}
	if !c.Debug || c.PrivateDatabase() || c.OwnBroker() {
		t.Errorf("got debug %v, private database %v, own broker %v, want true, false, false",
			c.Debug, c.PrivateDatabase(), c.OwnBroker())
	}
}

func TestLoad_ValuesOfEveryType(t *testing.T) {
	want := &Config{}
	want.Server.AllowedOrigins = []string{"https://a.example", "https://b.example:8443"}
	want.Cluster.Settings = map[string]string{
		"shared_buffers": "1GB", "auto_explain.log_min_duration": "250",
	}
	want.Ingest.TargetLatency = 5 * time.Millisecond
	want.Ingest.MaxBytes = 64_000_000
	want.MQTT.TLS = true
	tests := map[string]sources{
		"from a file": {file: `
server:
  allowed_origins: ["https://a.example", "https://b.example:8443"]
cluster: {settings: {shared_buffers: 1GB, auto_explain.log_min_duration: 250}}
ingest: {target_latency: 5ms, max_bytes: 64000000}
mqtt: {tls: true}`},
		"from variables": {env: []string{
			"OEI_SERVER_ALLOWED_ORIGINS=https://a.example, https://b.example:8443,",
			"OEI_MQTT_TLS=yes",
			"OEI_CLUSTER_SETTINGS=shared_buffers=1GB, auto_explain.log_min_duration=250",
			"OEI_INGEST_TARGET_LATENCY=5ms", "OEI_INGEST_MAX_BYTES=64_000_000",
		}},
	}
	for name, from := range tests {
		t.Run(name, func(t *testing.T) {
			c := mustLoad(t, from)
			if !slices.Equal(c.Server.AllowedOrigins, want.Server.AllowedOrigins) ||
				!reflect.DeepEqual(c.Cluster.Settings, want.Cluster.Settings) ||
				c.Ingest.TargetLatency != want.Ingest.TargetLatency ||
				c.Ingest.MaxBytes != want.Ingest.MaxBytes || c.MQTT.TLS != want.MQTT.TLS {
				t.Errorf("got %v, want %v", c, want)
			}
		})
	}
}

func TestLoad_ReadsSecretsFromFiles(t *testing.T) {
	key := strings.Repeat("0123456789abcdef", 3)
	c := mustLoad(t, sources{
		env:    []string{"SECRET_KEY_FILE=$DIR/key", "DATABASE_URL_FILE=$DIR/url"},
		dotenv: "OEI_MQTT_PASSWORD_FILE=$DIR/password",
		files: map[string]string{
			"key": key + "\n", "url": "postgres://u:p@db/x\r\n", "password": " with spaces ",
		},
	})
	if c.Auth.SecretKey != key || c.Database.URL != "postgres://u:p@db/x" ||
		c.MQTT.Password != " with spaces " {
		t.Errorf("got %q, %q, %q", c.Auth.SecretKey, c.Database.URL, c.MQTT.Password)
	}
}

func TestDefaults_EqualThosePackagesDeclare(t *testing.T) {
	c := mustLoad(t, sources{})
	want := *c
	want.Environment, want.Log = Development, Log{Level: "info", Format: "text"}
	want.Database, want.Debug, want.AllowPlaintext = Database{}, false, false
	want.Auth, want.Query = auth.DefaultConfig(), server.DefaultQueryConfig()
	want.Store, want.Server = store.DefaultConfig(), server.DefaultConfig()
	want.Ingest, want.Cache = ingest.DefaultConfig(), cache.DefaultConfig()
	want.MQTT, want.Broker = mqttsource.DefaultConfig(), broker.DefaultConfig()
	want.Push, want.Notify = push.DefaultConfig(), notify.DefaultConfig()
	want.Monitor = selfmonitor.DefaultConfig()
	want.Cluster = postgres.Config{DataDir: c.Cluster.DataDir}
	for i, s := range c.settings() {
		if got, want := s.shown(), want.settings()[i].shown(); got != want {
			t.Errorf("%s: default.yaml has %s, its room %s", s.key, got, want)
		}
		name := s.key[strings.LastIndexByte(s.key, '.')+1:]
		if !strings.Contains(DefaultYAML, "["+s.name()+"]") &&
			!strings.Contains(DefaultYAML, "["+s.name()+",") {
			t.Errorf("%s: default.yaml says nothing of [%s]", name, s.name())
		}
	}
}

func TestDefaultDataDir(t *testing.T) {
	tests := map[string]struct {
		system string
		root   bool
		env    map[string]string
		want   string
	}{
		"root": {
			"linux", true, map[string]string{"HOME": "/root"}, "/var/lib/oei-ms",
		},
		"a user": {
			"linux", false, map[string]string{"HOME": "/home/ann"}, "/home/ann/.local/share/oei-ms",
		},
		"a user with a data home": {
			"linux", false,
			map[string]string{"HOME": "/home/ann", "XDG_DATA_HOME": "/data"},
			"/data/oei-ms",
		},
		"a data home that is relative": {
			"linux", false,
			map[string]string{"HOME": "/home/ann", "XDG_DATA_HOME": "data"},
			"/home/ann/.local/share/oei-ms",
		},
		"a Mac": {
			"darwin", false,
			map[string]string{"HOME": "/Users/ann"},
			"/Users/ann/Library/Application Support/oei-ms",
		},
		"Windows": {
			"windows", false,
			map[string]string{"LOCALAPPDATA": `/c/ann/Local`},
			"/c/ann/Local/oei-ms",
		},
		"an environment without a home": {"linux", false, nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := defaultDataDir(test.system, test.root,
				func(name string) string { return test.env[name] })
			if filepath.ToSlash(got) != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
