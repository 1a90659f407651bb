package store_test

import (
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/migrations"
	"github.com/oei-ms/oei-ms/store"
)

// schema lists everything that a migration may create, one name a line.
func schema(t *testing.T, dsn string) string {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	ok(t, err)
	defer db.Close()
	return scan[string](t, db, `
		SELECT coalesce(string_agg(name, E'\n' ORDER BY name), '')
		FROM (
			SELECT relname || ' ' || relkind::text AS name
			FROM pg_class
			WHERE relnamespace = 'public'::regnamespace
			UNION ALL
			SELECT proname
			FROM pg_proc
			WHERE pronamespace = 'public'::regnamespace
			UNION ALL
			SELECT tgname
			FROM pg_trigger
			WHERE NOT tgisinternal
			UNION ALL
			SELECT attrelid::regclass || '.' || attname || ' ' ||
				format_type(atttypid, atttypmod) || ' ' || attnotnull
			FROM pg_attribute a
			JOIN pg_class c ON c.oid = attrelid
			WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped) n
		WHERE name NOT LIKE 'schema_migrations%'`)
}

// migrationVersions returns the versions of the migrations, in order.
func migrationVersions(t *testing.T) (vs []uint) {
	t.Helper()
	files, err := fs.Glob(migrations.FS, "*.up.sql")
	ok(t, err)
	for _, f := range files {
		n, err := strconv.ParseUint(f[:4], 10, 32)
		ok(t, err)
		vs = append(vs, uint(n))
	}
	return vs
}

func TestMigrate(t *testing.T) {
	newest := store.NewestSchemaVersion()
	if versions := migrationVersions(t); newest != versions[len(versions)-1] {
		t.Fatalf("newest version: got %d, want the last of %d", newest, versions)
	}
	migrate := func(t *testing.T, dsn string, from, to uint) {
		t.Helper()
		f, n, err := store.Migrate(t.Context(), dsn)
		ok(t, err)
		if f != from || n != to {
			t.Errorf("versions: got %d to %d, want %d to %d", f, n, from, to)
		}
	}
	t.Run("an empty database gets the schema, a second run changes nothing", func(t *testing.T) {
		dsn := pgtest.Empty(t)
		migrate(t, dsn, 0, newest)
		migrate(t, dsn, newest, newest)
	})
	t.Run("down to 0 leaves nothing, and up again creates the same schema", func(t *testing.T) {
		dsn := pgtest.Empty(t)
		migrate(t, dsn, 0, newest)
		first := schema(t, dsn)
		ok(t, store.MigrateTo(t.Context(), dsn, 0))
		if left := schema(t, dsn); left != "" {
			t.Errorf("left over:\n%s", left)
		}
		versions := migrationVersions(t)
		for _, v := range versions { // one at a time
			ok(t, store.MigrateTo(t.Context(), dsn, v))
		}
		if again := schema(t, dsn); again != first {
			t.Errorf("got\n%s\nwant\n%s", again, first)
		}
		for i := range versions {
			ok(t, store.MigrateTo(t.Context(), dsn, versions[len(versions)-1-i]))
		}
		ok(t, store.MigrateTo(t.Context(), dsn, 0))
		if left := schema(t, dsn); left != "" {
			t.Errorf("left over:\n%s", left)
		}
	})
	t.Run("down works with data and partitions", func(t *testing.T) {
		dsn := pgtest.DSN(t) + durable
		s := openAt(t, dsn)
		ok(t, s.EnsurePartitions(t.Context()))
		write(t, s, reading(addSensor(t, s, addGateway(t, s, "g").ID, "s").ID, 0, 1))
		ok(t, store.MigrateTo(t.Context(), dsn, 0))
		if left := schema(t, dsn); left != "" {
			t.Errorf("left over:\n%s", left)
		}
	})
	t.Run("of eight at once one migrates and all succeed", func(t *testing.T) {
		dsn := pgtest.Empty(t)
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() {
				var to uint
				_, to, errs[i] = store.Migrate(t.Context(), dsn)
				if errs[i] == nil && to != newest {
					t.Errorf("version: got %d, want %d", to, newest)
				}
			})
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
		if v, err := store.SchemaVersion(t.Context(), dsn); v != newest || err != nil {
			t.Errorf("version: got %d, %v", v, err)
		}
	})
}

func TestMigrateRefuses(t *testing.T) {
	oldest := migrationVersions(t)[0]
	tests := map[string]struct {
		change string
		want   error
		says   string
	}{
		"a schema whose migration was interrupted": {
			`UPDATE schema_migrations SET dirty = true, version = 21`, store.ErrDirtySchema,
			"a migration was interrupted at version 21: compare the schema with " +
				"migrations/0021_*.up.sql, repair it, then run `oei-ms migrate force VERSION`",
		},
		"a schema of a newer program": {
			`UPDATE schema_migrations SET version = 9999`, store.ErrNewerSchema,
			"it has version 9999, the program knows",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dsn := pgtest.DSN(t)
			before := schema(t, dsn)
			db, err := sql.Open("postgres", dsn)
			ok(t, err)
			defer db.Close()
			run(t, db, tt.change)
			_, _, err = store.Migrate(t.Context(), dsn)
			isError(t, err, tt.want)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error: got %v, want it to say %q", err, tt.says)
			}
			isError(t, store.MigrateTo(t.Context(), dsn, oldest), tt.want)
			if after := schema(t, dsn); after != before {
				t.Errorf("the schema was changed to\n%s", after)
			}
			ok(t, store.ForceSchemaVersion(t.Context(), dsn, store.NewestSchemaVersion()))
			if _, _, err := store.Migrate(t.Context(), dsn); err != nil {
				t.Errorf("after the repair: %v", err)
			}
		})
	}
}

// Before the first release 19 other migrations created the schema. A few of their tables,
// shortened, stand for all of them.
func TestMigrateRefusesUnreleasedSchema(t *testing.T) {
	tests := []struct {
		version int
		dirty   bool
		tables  string
	}{
		{1, false, `CREATE TABLE users (id integer PRIMARY KEY, username varchar(50) NOT NULL)`},
		{7, false, `
			CREATE TABLE users (id integer PRIMARY KEY, username varchar(50) NOT NULL);
			CREATE TABLE gateways (id integer PRIMARY KEY, key varchar(64) NOT NULL);
			CREATE TABLE alarms (id integer PRIMARY KEY, rule jsonb NOT NULL)`},
		{16, true, `CREATE TABLE latest (sensor_id integer PRIMARY KEY, stamp bigint NOT NULL)`},
		{19, false, `CREATE TABLE notification_routes (id integer PRIMARY KEY, time_zone text)`},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("version %d, dirty %t", tt.version, tt.dirty), func(t *testing.T) {
			dsn := pgtest.Empty(t)
			db, err := sql.Open("postgres", dsn)
			ok(t, err)
			defer db.Close()
			run(t, db, tt.tables)
			run(t, db, `
				CREATE TABLE schema_migrations (
					version bigint PRIMARY KEY,
					dirty   boolean NOT NULL)`)
			run(t, db, `INSERT INTO schema_migrations VALUES ($1, $2)`, tt.version, tt.dirty)
			before := schema(t, dsn)
			_, _, migrated := store.Migrate(t.Context(), dsn)
			_, asked := store.SchemaVersion(t.Context(), dsn)
			for _, err := range []error{
				migrated, asked, store.MigrateTo(t.Context(), dsn, 0),
				store.MigrateTo(t.Context(), dsn, store.NewestSchemaVersion()),
			} {
				isError(t, err, store.ErrUnreleasedSchema)
				want := fmt.Sprintf("it has version %d, which this program cannot migrate; "+
					"use an empty database (DATABASE_URL)", tt.version)
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error: got %v, want it to say %q", err, want)
				}
			}
			if after := schema(t, dsn); after != before {
				t.Errorf("the schema was changed to\n%s", after)
			}
		})
	}
}

func TestMigrationVersionsThatDoNotExist(t *testing.T) {
	dsn := pgtest.DSN(t)
	oldest, newest := migrationVersions(t)[0], store.NewestSchemaVersion()
	for _, version := range []uint{1, oldest - 1, newest + 1} {
		for _, err := range []error{
			store.MigrateTo(t.Context(), dsn, version),
			store.ForceSchemaVersion(t.Context(), dsn, version),
		} {
			isError(t, err, store.ErrNoSuchVersion)
			want := fmt.Sprintf("use 0 for an empty database, or %d to %d", oldest, newest)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("version %d: got %v, want it to say %q", version, err, want)
			}
		}
	}
	if v, err := store.SchemaVersion(t.Context(), dsn); v != newest || err != nil {
		t.Errorf("version: got %d, %v, want %d", v, err, newest)
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := map[string]struct{ dsn, says string }{
		"a malformed address": {"postgres://[", "database address:"},
		"a server that may lose committed transactions": {
			pgtest.DSN(t) + " synchronous_commit=off", "synchronous_commit is off",
		},
		"a database that does not exist": {
			strings.Replace(pgtest.DSN(t), "dbname='", "dbname='no_such_", 1), "does not exist",
		},
		"an address where no server listens": {
			"host=127.0.0.1 port=1 dbname=x sslmode=disable", "database is not available",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := store.Open(t.Context(), tt.dsn, store.DefaultConfig(),
				slog.New(slog.DiscardHandler))
			if err == nil {
				_ = s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want it to say %q", err, tt.says)
			}
		})
	}
}

func TestConfigNamesEveryFault(t *testing.T) {
	ok(t, store.DefaultConfig().Validate())
	err := store.Config{Retention: 1}.Validate()
	for _, name := range []string{
		"OEI_STORE_API_CONNECTIONS: 0", "OEI_STORE_INGEST_CONNECTIONS: 0",
		"OEI_STORE_STATEMENT_TIMEOUT: 0s", `OEI_STORE_PARTITION: ""`, "OEI_STORE_RETENTION: 1ns",
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %s", err, name)
		}
	}
}

func TestPing(t *testing.T) {
	if v, err := open(t).Ping(t.Context()); err != nil || !strings.HasPrefix(v, "PostgreSQL 1") {
		t.Errorf("got %q, %v", v, err)
	}
}
