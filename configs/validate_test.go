package configs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const goodKey = "SECRET_KEY=R3aq0JrX1sVdTq8mY6nZpWc4uBhKfLgE5xOiN7tDyPs="

func TestLoad_NamesEachBadSettingWithItsRemedy(t *testing.T) {
	env := func(pairs ...string) sources { return sources{env: pairs} }
	tests := map[string]struct {
		from sources
		want string // the whole message, $DIR standing for the directory
	}{
		"a word for a port": {
			env("PORT=http"), `PORT: "http" is not a whole number; use one such as 1000`,
		},
		"a port out of range": {
			env("PORT=70000"), `PORT: 70000 is not a port; use 1 to 65535`,
		},
		"the name it was set by": {
			env("OEI_SERVER_PORT=70000"),
			`PORT: 70000 is not a port; use 1 to 65535 (from environment OEI_SERVER_PORT)`,
		},
		"a fault in the file": {
			sources{file: "server: {port: 70000}"},
			`PORT: 70000 is not a port; use 1 to 65535 (from oei-ms.yaml: server.port)`,
		},
		"a fault in a flag": {
			sources{flags: []string{"--port=x"}},
			`PORT: "x" is not a whole number; use one such as 1000 (from --port)`,
		},
		"a fault in .env": {
			sources{dotenv: "DEBUG=maybe"},
			`DEBUG: "maybe" is not a boolean; use true or false (from .env)`,
		},
		"a fraction for a number": {
			sources{file: "server: {port: 80.5}"},
			`PORT: "80.5" is not a whole number; use one such as 1000 (from oei-ms.yaml: ` +
				`server.port)`,
		},
		"a list for a value": {
			sources{file: "server: {port: [1, 2]}"},
			`PORT: takes a single value (from oei-ms.yaml: server.port)`,
		},
		"a map for a list": {
			sources{file: "push: {allowed_origins: {a: b}}"},
			`OEI_PUSH_ALLOWED_ORIGINS: takes a list (from oei-ms.yaml: push.allowed_origins)`,
		},
		"a time without a unit": {
			env("OEI_INGEST_TARGET_LATENCY=5"),
			`OEI_INGEST_TARGET_LATENCY: "5" is not a duration; use a number with its unit, ` +
				`such as 500ms, 30s, 5m or 24h`,
		},
		"a word for minutes": {
			env("ACCESS_TOKEN_EXPIRE_MINUTES=half"),
			`ACCESS_TOKEN_EXPIRE_MINUTES: "half" is not a number of minutes; use one such as 30`,
		},
		"settings without a value": {
			env("OEI_CLUSTER_SETTINGS=work_mem"),
			`OEI_CLUSTER_SETTINGS: "work_mem" is not of the form name=value; separate several by ` +
				`commas`,
		},
		"an unknown environment": {
			env("ENVIRONMENT=staging"),
			`ENVIRONMENT: "staging" is not known; use development or production`,
		},
		"an unknown level": {
			env("LOG_LEVEL=loud"), `LOG_LEVEL: "loud" is not known; use debug, info, warn or error`,
		},
		"an unknown format": {
			env("OEI_LOG_FORMAT=xml"), `OEI_LOG_FORMAT: "xml" is not known; use text or json`,
		},
		"a tilde no shell has seen": {
			env("DATA_DIR=~/data"),
			`DATA_DIR: "~/data" begins with ~, which only a shell understands; write the full path`,
		},
		"a host with its port": {
			env("HOST=0.0.0.0:80"),
			`HOST: "0.0.0.0:80" is not an address to listen on; use 0.0.0.0, 127.0.0.1, :: or a ` +
				`name, and PORT for the port`,
		},
		"one port for two things": {
			env("MQTT_PORT=8000"), `MQTT_PORT: 8000 is also the API's PORT; use another`,
		},
		"one port for MQTT twice": {
			env("OEI_BROKER_WEBSOCKET_PORT=1883"),
			`OEI_BROKER_WEBSOCKET_PORT: 1883 is also MQTT_PORT; use another`,
		},
		"a broker's host and port": {
			env("OEI_BROKER_HOST=0.0.0.0:1883"),
			`OEI_BROKER_HOST: "0.0.0.0:1883" is not an address to listen on; use 0.0.0.0, ` +
				`127.0.0.1, :: or a name`,
		},
		"TLS without a certificate": {
			env("OEI_BROKER_TLS_PORT=8883"),
			`OEI_BROKER_TLS_CERTIFICATE: is empty; name the file with the certificate for ` +
				`OEI_BROKER_TLS_PORT, and its key by OEI_BROKER_TLS_KEY`,
		},
		"a port of the own broker": {
			env("MQTT_PORT=-1"), `MQTT_PORT: -1 is not a port; use 1 to 65535`,
		},
		"a port of another broker": {
			env("MQTT_HOST=b", "MQTT_PORT=0"), `MQTT_PORT: 0 is not a port; use 1 to 65535`,
		},
		"a packet below its message": {
			env("OEI_BROKER_MAX_PACKET=1000000"),
			`OEI_BROKER_MAX_PACKET: 1000000 is not enough for a message of ` +
				`OEI_INGEST_MAX_PAYLOAD; use more than 1048576`,
		},
		"a short key": {
			env("SECRET_KEY=short"), `SECRET_KEY: it has 5 characters; use 32 random ones or more`,
		},
		"a database of another kind": {
			env("DATABASE_URL=mysql://u:hunter2@db/x"),
			`DATABASE_URL: is not an address of PostgreSQL; use ` +
				`postgres://user:password@host:5432/database`,
		},
		"a socket before a host": {
			env("DATABASE_URL=host=/run/postgresql,db dbname=x"),
			`DATABASE_URL: after a Unix socket the driver would connect to db without TLS; list ` +
				`either sockets or hosts`,
		},
		"a password with a percent": {
			env("DATABASE_URL=postgres://u:hunter2%zz@db/x"),
			`DATABASE_URL: is not an address of PostgreSQL; use ` +
				`postgres://user:password@host:5432/database, and write special characters of ` +
				`the password as %xx`,
		},
		"an sslmode there is not": {
			env("DATABASE_URL=postgres://u:hunter2@db/x?sslmode=maybe"),
			`DATABASE_URL: is not an address of PostgreSQL; use ` +
				`postgres://user:password@host:5432/database`,
		},
		"a secret file that is gone": {
			env("SECRET_KEY_FILE=$DIR/none"),
			`SECRET_KEY_FILE: open $DIR/none: no such file or directory`,
		},
		"an empty secret file": {
			sources{
				env:   []string{"SECRET_KEY_FILE=$DIR/key"},
				files: map[string]string{"key": "\n"},
			},
			`SECRET_KEY_FILE: $DIR/key is empty`,
		},
		"a secret twice": {
			env(goodKey, "SECRET_KEY_FILE=$DIR/key"),
			`SECRET_KEY and SECRET_KEY_FILE: both are set; use one`,
		},
		"a file that is gone": {
			sources{flags: []string{"--config=$DIR/none.yaml"}},
			`--config: file $DIR/none.yaml does not exist`,
		},
		"a file that is no YAML": {
			sources{file: "server:\n\tport: 1"},
			"oei-ms.yaml: yaml: line 2: found character that cannot start any token",
		},
		"a typo in the file": {
			sources{file: "server: {prot: 1}"},
			`oei-ms.yaml: server.prot is not a setting; did you mean server.port?`,
		},
		"a typo in a section": {
			sources{file: "sever: {port: 1}"},
			`oei-ms.yaml: sever.port is not a setting; did you mean server.port?`,
		},
		"a key like no other": {
			sources{file: "colour: red"},
			`oei-ms.yaml: colour is not a setting; see docs/configuration.md for all settings`,
		},
		"a section without settings": {
			sources{file: "server: 8000"},
			`oei-ms.yaml: server is a section; write its settings on the lines below it, indented`,
		},
		"a typo in a variable": {
			env("OEI_SERVER_PROT=1"),
			`OEI_SERVER_PROT: is not a setting; did you mean OEI_SERVER_PORT?`,
		},
		"a typo in .env": {
			sources{dotenv: "OEI_MQTT_HOSTS=b"},
			`OEI_MQTT_HOSTS: is not a setting; did you mean OEI_MQTT_HOST?`,
		},
		"a line in .env": {
			sources{dotenv: "PORT 80"}, `.env: line 1 is not of the form NAME=value`,
		},
		"a cluster setting of ours": {
			env("OEI_CLUSTER_SETTINGS=fsync=off"),
			`PostgreSQL setting fsync: cannot be changed in the private cluster; remove it, or ` +
				`run your own server and set DATABASE_URL`,
		},
		"a room's limit": {
			env("OEI_STORE_INGEST_CONNECTIONS=1"),
			`OEI_STORE_INGEST_CONNECTIONS: 1 is too few; use 3 or more`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := loadIn(t, dir, test.from)
			if err == nil {
				t.Fatalf("got no error, want %s", test.want)
			}
			got := strings.ReplaceAll(err.Error(), dir, "$DIR")
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("a secret is in %s", got)
			}
		})
	}
}

func TestLoad_ReportsEveryFaultAtOnce(t *testing.T) {
	_, err := load(t, sources{
		env: []string{
			"PORT=x", "OEI_PUSH_QUEUE_SIZE=0", "OEI_STORE_API_CONNECTIONS=0",
			"ENVIRONMENT=production", "ADMIN_PASSWORD=short",
		},
		dotenv: "LOG_LEVEL=loud", file: "sever: {a: 1}",
	})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, name := range []string{
		"PORT", "OEI_PUSH_QUEUE_SIZE", "OEI_STORE_API_CONNECTIONS", "HOST", "ADMIN_PASSWORD",
		"LOG_LEVEL", "oei-ms.yaml",
	} {
		if n := strings.Count("\n"+err.Error(), "\n"+name+": "); n != 1 {
			t.Errorf("got %d faults of %s, want 1 in\n%v", n, name, err)
		}
	}
}

func TestProduction_Refuses(t *testing.T) {
	const (
		plaintext = "HOST: 0.0.0.0 accepts HTTP and MQTT without TLS from other machines"
		guessed   = "SECRET_KEY: it can be guessed"
	)
	local := []string{"ENVIRONMENT=production", "HOST=127.0.0.1"}
	cert, key := certificate(t)
	secured := slices.Concat([]string{
		"OEI_BROKER_PLAIN=false", "OEI_BROKER_TLS_PORT=8883", "OEI_BROKER_TLS_CERTIFICATE=" + cert,
		"OEI_BROKER_TLS_KEY=" + key,
	}, local)
	database := func(dsn string) []string {
		return append([]string{"DATABASE_URL=" + dsn},
			local...)
	}
	tests := map[string]struct {
		env  []string
		want string // "" means it is accepted
	}{
		"plain listeners": {[]string{"ENVIRONMENT=production"}, plaintext},
		"a plain API and an external broker": {
			[]string{"ENVIRONMENT=production", "MQTT_HOST=b"},
			"HOST: 0.0.0.0 accepts HTTP without TLS",
		},
		"a plain broker and a local API": {
			append([]string{"OEI_BROKER_HOST=0.0.0.0"}, local...),
			"OEI_BROKER_HOST: 0.0.0.0 accepts MQTT without TLS from other machines",
		},
		"a broker with TLS and a local API": {
			slices.Concat(secured, []string{"OEI_BROKER_HOST=0.0.0.0"}), "",
		},
		"a WebSocket with TLS": {
			slices.Concat(secured,
				[]string{"OEI_BROKER_HOST=0.0.0.0", "OEI_BROKER_WEBSOCKET_PORT=8884"}),
			"",
		},
		"a local plain broker, a remote API": {
			[]string{"ENVIRONMENT=production", "OEI_BROKER_HOST=127.0.0.1"},
			"HOST: 0.0.0.0 accepts HTTP without TLS",
		},
		"a WebSocket without TLS": {
			append([]string{
				"OEI_BROKER_HOST=0.0.0.0", "OEI_BROKER_PLAIN=false",
				"OEI_BROKER_WEBSOCKET_PORT=8083",
			}, local...),
			"OEI_BROKER_HOST: 0.0.0.0 accepts MQTT without TLS",
		},
		"but not on loopback":  {local, ""},
		"nor on IPv6 loopback": {[]string{"ENVIRONMENT=production", "HOST=::1"}, ""},
		"nor when it is said": {
			[]string{"ENVIRONMENT=production", "ALLOW_PLAINTEXT=true"}, "",
		},
		"a good key": {append([]string{goodKey}, local...), ""},
		"a key out of an example": {
			append([]string{"SECRET_KEY=your-secret-key-change-in-production"}, local...), guessed,
		},
		"the key of FastAPI's documentation": {
			append([]string{"SECRET_KEY=" + fastAPIExample}, local...), guessed,
		},
		"a key of one character": {
			append([]string{"SECRET_KEY=" + strings.Repeat("a", 40)}, local...), guessed,
		},
		"a short key": {
			append([]string{"SECRET_KEY=R3aq0JrX1sVdTq8m"}, local...),
			"SECRET_KEY: it has 16 characters",
		},
		"a well-known password": {
			append([]string{"ADMIN_PASSWORD=Password123"}, local...),
			"ADMIN_PASSWORD: it is well known",
		},
		"a remote database without a mode": {
			database("postgres://u:hunter2@db/x"),
			"DATABASE_URL: sslmode=require does not verify the server at db",
		},
		"a remote database without TLS": {
			database("postgres://u:hunter2@db/x?sslmode=disable"),
			"DATABASE_URL: sslmode=disable does not verify",
		},
		"one of several databases is remote": {
			database("postgres://u:hunter2@localhost,10.0.0.7/x?sslmode=prefer"),
			"DATABASE_URL: sslmode=prefer does not verify the server at 10.0.0.7",
		},
		"a remote database in the other form": {
			database("host=db user=u password=hunter2 sslmode=require"),
			"DATABASE_URL: sslmode=require does not verify",
		},
		"a verified database": {
			database("postgres://u:hunter2@db/x?sslmode=verify-full"), "",
		},
		"a database with a verified authority": {
			database("postgres://u:hunter2@db/x?sslmode=verify-ca"), "",
		},
		"a local database": {
			database("postgres://u:hunter2@localhost/x?sslmode=disable"), "",
		},
		"a local database without a mode": {
			database("postgresql://postgres:password@localhost:5432/oei_ms"), "",
		},
		"a database on a socket": {database("host=/run/postgresql dbname=x"), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, sources{env: test.env})
			if test.want == "" && err != nil || test.want != "" &&
				(err == nil || !strings.HasPrefix(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret is in %v", err)
			}
		})
	}
}

// certificate makes files with a certificate that signed itself and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey,
		private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}),
			0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return file("cert.pem", "CERTIFICATE", der), file("key.pem", "PRIVATE KEY", secret)
}

func TestDevelopment_AcceptsTheSame(t *testing.T) {
	mustLoad(t,
		sources{
			env: []string{
				"SECRET_KEY=your-secret-key-change-in-production",
				"DATABASE_URL=postgres://u:p@db/x?sslmode=disable", "ADMIN_PASSWORD=password123",
			},
		})
}

func TestLoad_AsksForADataDirWhenNeeded(t *testing.T) {
	c := mustLoad(t, sources{env: []string{"DATABASE_URL=postgres://u:p@db/x"}})
	c.DataDir = ""
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "DATA_DIR: is empty") {
		t.Errorf("got %v, want DATA_DIR named", err)
	}
	c.Auth.SecretKey = strings.TrimPrefix(goodKey, "SECRET_KEY=")
	if err := c.Validate(); err != nil {
		t.Errorf("got %v with a key and a database, want none", err)
	}
}

func TestFlatten_KeepsEveryError(t *testing.T) {
	a, b, c := errors.New("a"), errors.New("b"), errors.New("c")
	if got := flatten(errors.Join(a, errors.Join(b, nil), c)); len(got) != 3 {
		t.Errorf("got %v, want a, b, c", got)
	}
}
