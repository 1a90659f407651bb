package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/pgtest"
)

// TestFaultDiskFull_ResumesWhenThereIsSpace fills the disk of 160 MiB of a private cluster, which
// needs root to mount; in any case it has PostgreSQL report a full disk.
func TestFaultDiskFull_ResumesWhenThereIsSpace(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("not root: the error is PostgreSQL's, the disk is not")
	} else {
		t.Run("of a small disk", func(t *testing.T) {
			dir := smallDisk(t, 160<<20)
			p := serve(t, dir,
				"OEI_CLUSTER_SETTINGS=min_wal_size=32MB,max_wal_size=32MB,shared_buffers=16MB")
			survivesAFullDisk(t, p, p.dsn,
				func() { fillDisk(t, filepath.Join(dir, "ballast")) },
				func() { removeFile(t, filepath.Join(dir, "ballast")) })
		})
	}
	t.Run("as PostgreSQL says it", func(t *testing.T) {
		db := pgtest.Server(t)
		p := serve(t, dataDir(t), "DATABASE_URL="+db.DSN())
		exec := func(q string) func() {
			return func() {
				conn := database(t, db.DSN())
				defer conn.Close()
				if _, err := conn.Exec(q); err != nil {
					t.Fatal(err)
				}
			}
		}
		exec(`
			CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
				RAISE EXCEPTION 'could not extend file: No space left on device'
					USING ERRCODE = '53100';
			END $$`)()
		survivesAFullDisk(t, p, db.DSN,
			exec(`CREATE TRIGGER full_disk BEFORE INSERT ON latest FOR EACH STATEMENT
				EXECUTE FUNCTION full_disk()`),
			exec(`DROP TRIGGER full_disk ON latest`))
	})
}

// survivesAFullDisk publishes while the disk is full and when it has room again.
func survivesAFullDisk(t *testing.T, p *process, dsn func() string, fill, empty func()) {
	l := newLedger(p.registerAll(4))
	stop := l.run(t, p.mqtt, steady)
	for range rounds(t, 1) {
		l.awaitAcks(p, 1000, 20*time.Second)
		fill()
		p.eventually(60*time.Second, "nothing is acknowledged", func() bool {
			before := l.count()
			time.Sleep(time.Second)
			return l.count() == before
		})
		if l.inFlight.Load() == 0 {
			t.Error("no message waits for its acknowledgement")
		}
		empty()
		l.awaitAcks(p, 1000, 60*time.Second)
	}
	stop()
	p.eventually(20*time.Second, "it is ready",
		func() bool { return p.status("/health/ready") == 200 })
	l.check(t, dsn())
	if n := l.breaks.Load(); n > 0 {
		t.Errorf("%d connections of gateways broke", n)
	}
}

// fillDisk writes a file until there is no room.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 64<<10); ; {
		if _, err := f.Write(block); err != nil {
			return // it is full
		}
	}
}

func removeFile(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
