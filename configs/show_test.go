package configs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestConfig_NeverShowsSecrets(t *testing.T) {
	c := mustLoad(t, sources{env: []string{
		"SECRET_KEY=hunter2-hunter2-hunter2-hunter2-hunter2", "ADMIN_PASSWORD=hunter2hunter2",
		"MQTT_PASSWORD=hunter2",
		"DATABASE_URL=postgres://ann:hunter2@db:5432/x?sslmode=require",
		"REDIS_URL=redis://:hunter2@cache:6379/1",
	}})
	var table, text, js bytes.Buffer
	if err := c.Write(&table); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewTextHandler(&text, nil)).Info("start", "config", c, "value", *c)
	slog.New(slog.NewJSONHandler(&js, nil)).Info("start", "config", c, "value", *c)
	marshalled, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for how, shown := range map[string]string{
		"Write": table.String(), "slog text": text.String(), "slog JSON": js.String(),
		"json": string(marshalled),
		"%v":   fmt.Sprintf("%v %v", c, *c), "%+v": fmt.Sprintf("%+v %+v", c, *c),
		"%#v": fmt.Sprintf("%#v %#v", c, *c),
	} {
		if strings.Contains(shown, "hunter2") {
			t.Errorf("%s: a secret is in %s", how, shown)
		}
		if !strings.Contains(shown, "postgres://ann:"+mask+"@db:5432/x") {
			t.Errorf("%s: want the address without its password in %s", how, shown)
		}
	}
}

func TestWrite_SaysWhereEachSettingComesFrom(t *testing.T) {
	c := mustLoad(t, sources{
		flags: []string{"--log-level=debug"},
		env: []string{
			"PORT=9000", "OEI_SERVER_HOST=127.0.0.1", "MQTT_PASSWORD_FILE=$DIR/password",
		},
		dotenv: "ADMIN_USERNAME=ann",
		file:   "ingest: {target_latency: 9ms}",
		files:  map[string]string{"password": "p"},
	})
	var table bytes.Buffer
	if err := c.Write(&table); err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(table.String()) {
		fields := strings.Fields(line)
		rows[fields[0]] = strings.Join(fields[1:], " ")
	}
	for name, want := range map[string]string{
		"LOG_LEVEL": "debug --log-level", "PORT": "9000 environment",
		"HOST":                      "127.0.0.1 environment OEI_SERVER_HOST",
		"ADMIN_USERNAME":            "ann .env",
		"OEI_INGEST_TARGET_LATENCY": "9ms oei-ms.yaml: ingest.target_latency",
		"MQTT_PORT":                 "1883 default",
	} {
		if rows[name] != want {
			t.Errorf("%s: got %q, want %q", name, rows[name], want)
		}
	}
	if !strings.HasPrefix(rows["MQTT_PASSWORD"], mask+" file /") {
		t.Errorf("MQTT_PASSWORD: got %q, want it masked, from its file", rows["MQTT_PASSWORD"])
	}
}

func TestWrite_ShowsTheSSLModeInEffect(t *testing.T) {
	for dsn, want := range map[string]string{
		"": "",
		"postgresql+asyncpg://u:p@localhost/x": "prefer default for this machine: TLS if the " +
			"server offers it",
		"postgres://u:p@db/x":                     "require default for another machine",
		"postgres://u:p@db/x?sslmode=verify-full": "verify-full DATABASE_URL or PGSSLMODE",
		"host=/run/postgresql dbname=x":           "disable Unix socket",
	} {
		var table bytes.Buffer
		if err := mustLoad(t,
			sources{env: []string{"DATABASE_URL=" + dsn}}).Write(&table); err != nil {
			t.Fatal(err)
		}
		got := ""
		for line := range strings.Lines(table.String()) {
			if fields := strings.Fields(line); fields[0] == "sslmode" {
				got = strings.Join(fields[1:], " ")
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", dsn, got, want)
		}
	}
}

func TestWrite_ShowsDurationsAsSet(t *testing.T) {
	tests := map[string]struct{ name, value string }{
		"the old variable is in minutes": {"ACCESS_TOKEN_EXPIRE_MINUTES", "45"},
		"and in parts of them":           {"ACCESS_TOKEN_EXPIRE_MINUTES", "1.5"},
		"days":                           {"OEI_MQTT_SESSION_EXPIRY", "720h"},
		"minutes":                        {"OEI_SERVER_IDLE_TIMEOUT", "10m"},
		"a minute and some":              {"OEI_SERVER_IDLE_TIMEOUT", "1m10s"},
		"hours and minutes":              {"OEI_SERVER_REFRESH_TTL", "20h30m"},
		"hours and seconds":              {"OEI_SERVER_REFRESH_TTL", "10h0m20s"},
		"seconds":                        {"OEI_SERVER_READ_TIMEOUT", "20s"},
		"less than a second":             {"OEI_INGEST_TARGET_LATENCY", "2.5ms"},
		"none":                           {"OEI_STORE_RETENTION", "0s"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := mustLoad(t, sources{env: []string{test.name + "=" + test.value}})
			for _, s := range c.settings() {
				if s.name() == test.name && s.shown() != test.value {
					t.Errorf("got %s, want %s", s.shown(), test.value)
				}
			}
		})
	}
}

func TestWrite_MasksPasswordsInAddresses(t *testing.T) {
	tests := map[string]struct{ address, want string }{
		"a URL": {
			"postgres://u:hunter2@db/x?sslmode=disable",
			"postgres://u:" + mask + "@db/x?sslmode=disable",
		},
		"a URL without a user": {"redis://cache:6379", "redis://cache:6379"},
		"a password in the query": {
			"postgres://db/x?user=u&password=hunter2",
			"postgres://db/x?password=" + mask + "&user=u",
		},
		"pairs": {
			"host=db password=hunter2 user=u", "host=db password=" + mask + " user=u",
		},
		"pairs with quotes": {
			`host=db password = 'a hunter2 \' b' user=u`, "host=db password=" + mask + " user=u",
		},
		"something not understood":  {"hunter2", mask},
		"a URL that is not written": {"postgres://u:hunter2%zz@db", mask},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := maskedAddress(test.address); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
