package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database/postgres"
	"github.com/golang-migrate/migrate/v4/source/iofs"

	"github.com/oei-ms/oei-ms/migrations"
)

// migrationWait is how long an instance waits for another one that migrates.
const migrationWait = 2 * time.Minute

var (
	// ErrDirtySchema means that a migration was interrupted and has to be repaired by hand.
	ErrDirtySchema = errors.New("a migration was interrupted")
	// ErrNewerSchema means that a newer program has migrated the database.
	ErrNewerSchema = errors.New("the schema is newer than this program")
	// ErrUnreleasedSchema means that the schema is one from before the first release.
	ErrUnreleasedSchema = errors.New("the schema is from before the first release")
	// ErrNoSuchVersion means that no migration has this number.
	ErrNoSuchVersion = errors.New("no such schema version")
)

// Migrate brings the schema of the database at dsn to the newest version and returns the versions
// before and after (0: empty). Of several instances that start at once one migrates and the others
// wait. A schema that is dirty, newer or unreleased is an error and stays as it is.
func Migrate(ctx context.Context, dsn string) (from, to uint, err error) {
	m, done, err := migrator(ctx, dsn)
	if err != nil {
		return 0, 0, err
	}
	defer done()
	if from, err = schemaVersion(m); err != nil {
		return 0, 0, err
	}
	if err := m.Up(); err != nil && !errors.Is(err, migrate.ErrNoChange) {
		return from, from, fmt.Errorf("migrate: %w", err)
	}
	to, err = schemaVersion(m)
	return from, to, err
}

// MigrateTo takes the schema up or down to version, or to nothing with 0. Going down drops what the
// later versions created, with its data.
func MigrateTo(ctx context.Context, dsn string, version uint) error {
	if err := CheckSchemaVersion(version); err != nil {
		return err
	}
	m, done, err := migrator(ctx, dsn)
	if err != nil {
		return err
	}
	defer done()
	if _, err := schemaVersion(m); err != nil {
		return err
	}
	if version == 0 {
		err = m.Down()
	} else {
		err = m.Migrate(version)
	}
	if err != nil && !errors.Is(err, migrate.ErrNoChange) {
		return fmt.Errorf("migrate to version %d: %w", version, err)
	}
	return nil
}

// ForceSchemaVersion declares the schema to be at version after it was repaired by hand.
func ForceSchemaVersion(ctx context.Context, dsn string, version uint) error {
	if err := CheckSchemaVersion(version); err != nil {
		return err
	}
	m, done, err := migrator(ctx, dsn)
	if err != nil {
		return err
	}
	defer done()
	return m.Force(int(version))
}

// SchemaVersion is the schema's version in the database at dsn; 0 when it is empty.
func SchemaVersion(ctx context.Context, dsn string) (uint, error) {
	m, done, err := migrator(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer done()
	return schemaVersion(m)
}

// NewestSchemaVersion is the newest version of the schema that this program knows.
func NewestSchemaVersion() uint { return slices.Max(schemaVersions()) }

// schemaVersions are the numbers of all migrations.
func schemaVersions() (versions []uint) {
	names, _ := fs.Glob(migrations.FS, "*.up.sql") // fails on a bad pattern only
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		if v, err := strconv.ParseUint(number, 10, 32); err == nil {
			versions = append(versions, uint(v))
		}
	}
	return versions
}

// CheckSchemaVersion is ErrNoSuchVersion unless version is 0 or that of a migration.
func CheckSchemaVersion(version uint) error {
	versions := schemaVersions()
	if version == 0 || slices.Contains(versions, version) {
		return nil
	}
	return fmt.Errorf("%w: %d; use 0 for an empty database, or %d to %d", ErrNoSuchVersion, version,
		slices.Min(versions), slices.Max(versions))
}

func schemaVersion(m *migrate.Migrate) (uint, error) {
	v, dirty, err := m.Version()
	versions := schemaVersions()
	switch {
	case errors.Is(err, migrate.ErrNilVersion):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("schema version: %w", err)
	case 0 < v && v < slices.Min(versions):
		return v, fmt.Errorf("%w: it has version %d, which this program cannot migrate; use an "+
			"empty database (DATABASE_URL), or an empty DATA_DIR if the program runs the "+
			"database; to keep readings, export them before with the program that wrote them "+
			"(GET /api/data/export)", ErrUnreleasedSchema, v)
	case dirty:
		return v, fmt.Errorf("%w at version %d: compare the schema with migrations/%04d_*.up.sql, "+
			"repair it, then run `oei-ms migrate force VERSION`", ErrDirtySchema, v, v)
	case v > slices.Max(versions):
		return v, fmt.Errorf("%w: it has version %d, the program knows %d; run the newer program",
			ErrNewerSchema, v, slices.Max(versions))
	}
	return v, nil
}

// migrator works on one connection of its own, without a statement timeout.
func migrator(ctx context.Context, dsn string) (*migrate.Migrate, func(), error) {
	c, err := connector(dsn, map[string]string{"application_name": "oei-ms migrate"})
	if err != nil {
		return nil, nil, err
	}
	db := sql.OpenDB(c)
	fail := func(err error) (*migrate.Migrate, func(), error) {
		return nil, nil, errors.Join(err, db.Close())
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return fail(connectError(err))
	}
	// The lock is held until conn is closed.
	const lock = `SELECT set_config('lock_timeout', $2, false), pg_advisory_lock($1)`
	if _, err := conn.ExecContext(ctx, lock, migrationLock,
		fmt.Sprint(migrationWait.Milliseconds())); err != nil {
		return fail(explain("wait for another instance's migration", err))
	}
	if _, err := conn.ExecContext(ctx, `RESET lock_timeout`); err != nil {
		return fail(connectError(err))
	}
	driver, err := postgres.WithConnection(ctx, conn, &postgres.Config{})
	if err != nil {
		return fail(connectError(err))
	}
	source, err := iofs.New(migrations.FS, ".")
	if err != nil {
		return fail(fmt.Errorf("migrations: %w", err))
	}
	m, err := migrate.NewWithInstance("iofs", source, "postgres", driver)
	if err != nil {
		return fail(fmt.Errorf("migrations: %w", err))
	}
	m.LockTimeout = migrationWait
	return m, func() { _, _ = m.Close(); _ = db.Close() }, nil
}
