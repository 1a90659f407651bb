// Package store holds every SQL statement of OEI-MS. It returns typed errors and knows neither HTTP
// nor MQTT: server, ingest, notify and the background jobs call it.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
)

const (
	// minServerVersion is the first server_version_num with every feature that is used here.
	minServerVersion = 130000
	// ingestTimeout bounds a statement of ingest, which is sent again when it fails.
	ingestTimeout = 30 * time.Second
	// maxIdleInTransaction bounds how long an instance that was paused within a transaction of
	// ingest keeps its locks.
	maxIdleInTransaction = 10 * time.Second
)

// Config holds the settings of a Store but the address of the database, which Open gets.
type Config struct {
	APIConnections    int           `mapstructure:"api_connections"`
	IngestConnections int           `mapstructure:"ingest_connections"`
	StatementTimeout  time.Duration `mapstructure:"statement_timeout"` // of API connections
	// PreparedStatements needs sessions that stay the same, which a connection pooler in
	// transaction mode does not give.
	PreparedStatements bool `mapstructure:"prepared_statements"`
	// Rollups must be the same in all instances: see PrepareRollups.
	Rollups bool `mapstructure:"rollups"`
	// Partition is the length of new partitions: auto, hour, day, week or month.
	Partition string `mapstructure:"partition"`
	// Retention is for sensors without one of their own, and must be the same in all instances;
	// 0: readings are kept for ever.
	Retention time.Duration `mapstructure:"retention"`
	// Maintenance merges and reindexes closed partitions.
	Maintenance bool `mapstructure:"maintenance"`
	// AlarmsPerSensor bounds the alarms that read a sensor, as their own or as an input.
	AlarmsPerSensor int `mapstructure:"alarms_per_sensor"`
	// EvaluationTimeout bounds evaluating the alarms of one transaction; it is not a setting.
	EvaluationTimeout time.Duration `mapstructure:"-"`
}

// DefaultConfig returns settings for one instance on a small machine.
func DefaultConfig() Config {
	return Config{
		APIConnections:     10,
		IngestConnections:  4,
		StatementTimeout:   5 * time.Second,
		PreparedStatements: true,
		Rollups:            true,
		Partition:          auto,
		Maintenance:        true,
		AlarmsPerSensor:    100,
		EvaluationTimeout:  evaluationTimeout,
	}
}

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var errs []error
	if c.APIConnections < 1 {
		errs = append(errs,
			fmt.Errorf("OEI_STORE_API_CONNECTIONS: %d is too few; use 1 or more", c.APIConnections))
	}
	if c.IngestConnections < 3 {
		errs = append(errs,
			fmt.Errorf("OEI_STORE_INGEST_CONNECTIONS: %d is too few; use 3 or more",
				c.IngestConnections))
	}
	if c.StatementTimeout < 100*time.Millisecond {
		errs = append(errs,
			fmt.Errorf("OEI_STORE_STATEMENT_TIMEOUT: %v is too short; use 100ms or more",
				c.StatementTimeout))
	}
	if !slices.Contains([]string{auto, hourly, daily, weekly, monthly}, c.Partition) {
		errs = append(errs,
			fmt.Errorf("OEI_STORE_PARTITION: %q is not known; use auto, hour, day, week or month",
				c.Partition))
	}
	if c.Retention != 0 && (c.Retention < time.Hour || c.Retention > maxRetention) {
		errs = append(errs,
			fmt.Errorf("OEI_STORE_RETENTION: %v is out of range; use 1h to %v, or 0s for ever",
				c.Retention, maxRetention))
	}
	if c.AlarmsPerSensor < 1 || c.AlarmsPerSensor > maxAlarmsPerSensor {
		errs = append(errs,
			fmt.Errorf("OEI_STORE_ALARMS_PER_SENSOR: %d is out of range; use 1 to %d",
				c.AlarmsPerSensor, maxAlarmsPerSensor))
	}
	return errors.Join(errs...)
}

// Store is safe for concurrent use. Ingest has connections of its own, so that no query can hold up
// a reading.
type Store struct {
	api                *sqlx.DB
	ingest             *sqlx.DB
	dsn                string
	statements         *statements
	instance           int64     // random id of this process, among those that share the database
	beat               time.Time // when this instance last wrote its beat_at
	log                *slog.Logger
	rollups            bool
	rollupDelay        time.Duration
	retention          time.Duration // the default
	alarmsPerSensor    int
	evaluationLimit    time.Duration
	reindexLockTimeout time.Duration
	partitions         partitions
	rules              ruleCache
	states             stateCache
	absences           atomic.Pointer[absences] // of ingest; nil: not read yet
	secrets            secretCipher
	repetition         repetition
}

// Open connects to the database at dsn, a URL or key=value pairs as in libpq. The schema must
// exist: see Migrate. A server that is too old, or that acknowledges commits which it may lose, is
// an error.
func Open(ctx context.Context, dsn string, cfg Config, log *slog.Logger) (*Store, error) {
	prepare := &statements{log: log}
	prepare.off.Store(!cfg.PreparedStatements)
	api, err := openPool(dsn, cfg.APIConnections, cfg.StatementTimeout,
		map[string]string{"application_name": "oei-ms api"}, prepare)
	if err != nil {
		return nil, err
	}
	ingest, err := openPool(dsn, cfg.IngestConnections, ingestTimeout, map[string]string{
		"application_name":                    "oei-ms ingest",
		"idle_in_transaction_session_timeout": fmt.Sprint(maxIdleInTransaction.Milliseconds()),
	}, prepare)
	if err != nil {
		return nil, errors.Join(err, api.Close())
	}
	s := &Store{
		api:                api,
		ingest:             ingest,
		dsn:                dsn,
		statements:         prepare,
		instance:           rand.Int64(),
		log:                log,
		rollups:            cfg.Rollups,
		rollupDelay:        rollupDelay,
		retention:          cfg.Retention,
		reindexLockTimeout: reindexLockTimeout,
	}
	s.partitions.size, s.partitions.retention = cfg.Partition, cfg.Retention
	s.partitions.maxBytes = maxPartitionBytes
	s.alarmsPerSensor, s.evaluationLimit = cfg.AlarmsPerSensor, cfg.EvaluationTimeout
	s.states.bySensor = map[int64]*cachedSensor{}
	if err := s.checkServer(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) checkServer(ctx context.Context) error {
	var version int
	var commit, fsync, jit string
	const q = `
		SELECT
			current_setting('server_version_num')::int,
			current_setting('synchronous_commit'),
			current_setting('fsync'),
			current_setting('jit')`
	err := s.ingest.QueryRowContext(ctx, q).Scan(&version, &commit, &fsync, &jit)
	if err != nil {
		return connectError(err)
	}
	if jit != "off" {
		s.statements.switchOff(ctx, "the parameters of connections do not reach PostgreSQL")
	}
	if version < minServerVersion {
		return fmt.Errorf("database: PostgreSQL %d is too old; use %d or newer", version/10000,
			minServerVersion/10000)
	}
	if commit == "off" {
		return errors.New("database: synchronous_commit is off, so a commit may be lost; " +
			"set it to on for this database")
	}
	if fsync == "off" {
		s.log.WarnContext(ctx, "database runs with fsync off",
			"hint", "turn fsync on: a power failure may lose acknowledged readings")
	}
	return nil
}

// Ping checks that the database answers and returns its version, such as "PostgreSQL 15.18".
func (s *Store) Ping(ctx context.Context) (version string, err error) {
	const q = `SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1)`
	err = s.api.GetContext(ctx, &version, q)
	return version, explain("database", err)
}

// Statements returns how many round trips with a statement there were, and how many of them sent
// a prepared one.
func (s *Store) Statements() (sent, prepared int64) {
	return s.statements.sent.Load(), s.statements.prepared.Load()
}

// Close closes all connections.
func (s *Store) Close() error { return errors.Join(s.api.Close(), s.ingest.Close()) }

// inTx runs f in a transaction of db, which it commits if f returns nil and rolls back otherwise.
func inTx(ctx context.Context, db *sqlx.DB, f func(*sqlx.Tx) error) error {
	t, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	return finish(t, f(t))
}

// finish commits t when err is nil and rolls it back otherwise.
func finish(t *sqlx.Tx, err error) error {
	if err != nil {
		return errors.Join(err, ignoreDone(t.Rollback()))
	}
	return t.Commit()
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}
