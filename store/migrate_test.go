package store_test

import (
	"database/sql"
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

// schema is everything a migration may make, one name a line.
func schema(t *testing.T, dsn string) string {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	ok(t, err)
	defer db.Close()
	return scan[string](t, db, `
		SELECT coalesce(string_agg(name, E'\n' ORDER BY name), '')
		FROM (
			SELECT relname || ' ' || relkind::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
			UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
			UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal
			UNION ALL SELECT attrelid::regclass || '.' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull
				FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
				WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped) n
		WHERE name NOT LIKE 'schema_migrations%'`)
}

// versions are those of the migrations, in order.
func versions(t *testing.T) (vs []uint) {
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
	newest := store.Newest()
	if newest < 3 {
		t.Fatalf("newest version: got %d", newest)
	}
	migrate := func(t *testing.T, dsn string, from, to uint) {
		t.Helper()
		f, n, err := store.Migrate(t.Context(), dsn)
		ok(t, err)
		if f != from || n != to {
			t.Errorf("versions: got %d to %d, want %d to %d", f, n, from, to)
		}
	}
	t.Run("an empty database gets the schema, and the second time nothing", func(t *testing.T) {
		dsn := pgtest.Empty(t)
		migrate(t, dsn, 0, newest)
		migrate(t, dsn, newest, newest)
	})
	t.Run("down to nothing leaves nothing and up again makes the same", func(t *testing.T) {
		dsn := pgtest.Empty(t)
		migrate(t, dsn, 0, newest)
		first := schema(t, dsn)
		ok(t, store.MigrateTo(t.Context(), dsn, 0))
		if left := schema(t, dsn); left != "" {
			t.Errorf("left over:\n%s", left)
		}
		versions := versions(t)
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
	t.Run("of eight at once one migrates and all are content", func(t *testing.T) {
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
		if v, err := store.Version(t.Context(), dsn); v != newest || err != nil {
			t.Errorf("version: got %d, %v", v, err)
		}
	})
}

func TestMigrateRefuses(t *testing.T) {
	tests := map[string]struct {
		meddle string
		want   error
		says   string
	}{
		"a schema whose migration was cut off": {
			`UPDATE schema_migrations SET dirty = true, version = 2`, store.ErrDirty,
			"a migration was cut off at version 2: compare the schema with migrations/0002_*.up.sql, mend it, then run `oei-ms migrate force VERSION`",
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
			run(t, db, tt.meddle)
			_, _, err = store.Migrate(t.Context(), dsn)
			isError(t, err, tt.want)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error: got %v, want it to say %q", err, tt.says)
			}
			isError(t, store.MigrateTo(t.Context(), dsn, 1), tt.want)
			if after := schema(t, dsn); after != before {
				t.Errorf("the schema was changed to\n%s", after)
			}
			ok(t, store.ForceVersion(t.Context(), dsn, int(store.Newest())))
			if _, _, err := store.Migrate(t.Context(), dsn); err != nil {
				t.Errorf("after it was mended: %v", err)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := map[string]struct{ dsn, says string }{
		"an address that is none": {"postgres://[", "database address:"},
		"a server that may lose what it confirms": {
			pgtest.DSN(t) + " synchronous_commit=off", "synchronous_commit is off",
		},
		"a database that is not there": {
			strings.Replace(pgtest.DSN(t), "dbname='", "dbname='no_such_", 1), "does not exist",
		},
		"a server that is not there": {
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
