package auth

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

func TestMain(m *testing.M) {
	argon = argonParams{memory: 64, time: 1, threads: 1} // the tests check many passwords
	pgtest.Template(func(dsn string) error {
		_, _, err := store.Migrate(context.Background(), dsn)
		return err
	})
	// A goroutine of the library sleeps for up to a second after a cluster refresh.
	pgtest.Main(m, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}
