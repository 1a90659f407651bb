package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/oei-ms/oei-ms/internal/postgres"
)

// variants is the number of ranges of a query, each an hour earlier than the one before.
const variants = 60

// cached queries closed ranges at instances on the same database: without a cache, with a cache in
// memory, for the first time and again, and with a cache in Redis.
func (b *seriesBench) cached(ctx context.Context) (err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	_ = ln.Close()
	redis := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "",
		"--appendonly", "no")
	if err := redis.Start(); err != nil {
		return fmt.Errorf("redis-server: %w (./task setup installs it)", err)
	}
	defer func() { _, _ = redis.Process.Kill(), redis.Wait() }()
	instances := map[string]*instance{}
	for _, name := range []string{"memory", "redis"} {
		bytes := map[string]string{
			"memory": "OEI_CACHE_BYTES=268435456", "redis": "OEI_CACHE_BYTES=1048576",
		}[name]
		in, err := b.startInstance(ctx, bytes, "REDIS_URL=redis://127.0.0.1:"+port)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, in.close()) }()
		instances[name] = in
	}
	time.Sleep(5 * time.Second) // Redis is connected to, and hours are known to be over
	ten := ""
	for i := range denseSensors {
		ten += fmt.Sprintf("&sensor_id=%d", i+1)
	}
	const some = "&agg=avg&agg=min&agg=max"
	fmt.Printf("\n%-40s %18s %18s %18s %18s\n", "closed ranges, by HTTP, ms p50 and p99",
		"made, no cache", "made and kept", "from memory", "from Redis")
	return b.incoming(ctx, func() error {
		for _, q := range []struct {
			title, path string
			days        int
		}{
			{"a day by the minute", "history?sensor_id=1&interval=1m" + some, 1},
			{
				fmt.Sprintf("%d days by the hour", b.o.days-3),
				"history?sensor_id=1&interval=1h" + some, b.o.days - 3,
			},
			{
				fmt.Sprintf("10 sensors, %d days by the hour", b.o.days-3),
				"history?interval=1h" + some + ten, b.o.days - 3,
			},
			{
				fmt.Sprintf("statistics of %d days", b.o.days-3), "statistics?sensor_id=1",
				b.o.days - 3,
			},
			{
				"a day downsampled to 1,000 readings",
				"downsampled?points=1000&sensor_id=1", 1,
			},
		} {
			line := fmt.Sprintf("%-40s", q.title)
			for _, column := range []struct {
				at     *instance
				rounds int
			}{
				{&instance{service: b.service, token: b.token}, 2},
				{instances["memory"], 1},
				{instances["memory"], 3},
				{instances["redis"], 3},
			} {
				var times []time.Duration
				for range column.rounds {
					for n := range variants {
						end := b.end.Add(-time.Duration(n) * time.Hour)
						span := "&start=" + end.AddDate(0, 0, -q.days).Format(time.RFC3339) +
							"&end=" + end.Format(time.RFC3339)
						took, err := column.at.timed(ctx, column.at.token, "/api/data/"+q.path+span)
						if err != nil {
							return err
						}
						times = append(times, took)
					}
				}
				slices.Sort(times)
				line += fmt.Sprintf("%9.2f %8.2f", times[len(times)/2].Seconds()*1000,
					times[len(times)*99/100].Seconds()*1000)
			}
			fmt.Println(line)
		}
		return nil
	})
}

// instance is a service on the database of another one.
type instance struct {
	*service
	token string
	dir   string
}

// startInstance starts an instance on the database of b.
func (b *seriesBench) startInstance(ctx context.Context, settings ...string) (*instance, error) {
	dir, err := os.MkdirTemp("", "oei-ms-bench-")
	if err != nil {
		return nil, err
	}
	settings = append(settings, "DATABASE_URL="+postgres.RunningDSN(b.dir+"/postgres"),
		"ADMIN_PASSWORD="+benchPassword)
	s, err := startService(ctx, dir, settings...)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	token, err := s.login()
	in := &instance{service: s, token: token, dir: dir}
	if err != nil {
		return nil, errors.Join(err, in.close())
	}
	return in, nil
}

func (in *instance) close() error { return errors.Join(in.stop(), os.RemoveAll(in.dir)) }
