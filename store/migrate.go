package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database/postgres"
	"github.com/golang-migrate/migrate/v4/source/iofs"

	"github.com/oei-ms/oei-ms/migrations"
)

// migrationWait is how long an instance waits for another one that migrates.
const migrationWait = 2 * time.Minute

// ErrDirty means that a migration was cut off and somebody has to look.
var ErrDirty = errors.New("a migration was cut off")

// ErrNewerSchema means that a newer program has migrated the database.
var ErrNewerSchema = errors.New("the schema is newer than this program")

// Migrate brings the schema of the database at dsn to the newest version and returns the versions
// before and after (0: empty). Of several instances that start at once one migrates and the others
// wait. A dirty or newer schema is an error and left alone.
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
		var dirty migrate.ErrDirty
		if errors.As(err, &dirty) {
			return from, from, dirtyError(dirty.Version)
		}
		return from, from, fmt.Errorf("migrate: %w", err)
	}
	to, err = schemaVersion(m)
	return from, to, err
}

// MigrateTo takes the schema up or down to version. Going down drops what the later versions
// brought, with its data.
func MigrateTo(ctx context.Context, dsn string, version uint) error {
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

// ForceVersion declares the schema to be at version after somebody has mended it by hand.
func ForceVersion(ctx context.Context, dsn string, version int) error {
	m, done, err := migrator(ctx, dsn)
	if err != nil {
		return err
	}
	defer done()
	return m.Force(version)
}

// Version is the schema's version in the database at dsn; 0 when it is empty.
func Version(ctx context.Context, dsn string) (uint, error) {
	m, done, err := migrator(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer done()
	return schemaVersion(m)
}

// Newest is the schema's version that this program knows.
func Newest() uint {
	names, _ := fs.Glob(migrations.FS, "*.up.sql") // fails on a bad pattern only
	var newest uint
	for _, name := range names {
		var v uint
		if _, err := fmt.Sscanf(strings.TrimLeft(name, "0"), "%d", &v); err == nil {
			newest = max(newest, v)
		}
	}
	return newest
}

func schemaVersion(m *migrate.Migrate) (uint, error) {
	v, dirty, err := m.Version()
	switch {
	case errors.Is(err, migrate.ErrNilVersion):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("schema version: %w", err)
	case dirty:
		return v, dirtyError(int(v))
	case v > Newest():
		return v, fmt.Errorf("%w: it has version %d, the program knows %d; run the newer program",
			ErrNewerSchema, v, Newest())
	}
	return v, nil
}

func dirtyError(version int) error {
	return fmt.Errorf("%w at version %d: compare the schema with migrations/%04d_*.up.sql, mend it, then run `oei-ms migrate force VERSION`",
		ErrDirty, version, version)
}

// migrator works on one connection of its own, without a statement timeout.
func migrator(ctx context.Context, dsn string) (*migrate.Migrate, func(), error) {
	c, err := connector(dsn, map[string]string{"application_name": "oei-ms migrate"})
	if err != nil {
		return nil, nil, err
	}
	db := sql.OpenDB(c)
	fail := func(err error) (*migrate.Migrate, func(), error) {
		return nil, nil, errors.Join(err,
			db.Close())
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return fail(connectError(err))
	}
	const lock = `SELECT set_config('lock_timeout', $2, false), pg_advisory_lock($1)`
	// until conn is closed
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
