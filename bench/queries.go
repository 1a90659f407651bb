package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const maxQueries = 300 // times each

// seriesBench queries the days before end while readings are ingested.
type seriesBench struct {
	*service
	db    *sql.DB
	o     options
	token string
	end   time.Time
	keys  []string
}

// incoming ingests 2,000 readings per second of 1,000 sensors while f runs.
func (b *seriesBench) incoming(ctx context.Context, f func() error) error {
	gateways := &fleet{addrs: []string{b.mqtt}, o: b.o, points: b.o.points, rate: 20, now: true}
	gateways.o.duration = time.Hour
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- gateways.run(ctx, b.keys, slices.Repeat([]string{secret}, len(b.keys))) }()
	begin := time.Now()
	err := f()
	cancel()
	took := time.Since(begin).Seconds()
	err = errors.Join(err, <-done)
	fmt.Printf("  meanwhile %.0f readings/s ingested, PUBACK after %v, p99 %v\n",
		float64(gateways.acked.Load()*int64(gateways.points))/took,
		quantile(gateways.latencies, 0.5).Round(10*time.Microsecond),
		quantile(gateways.latencies, 0.99).Round(10*time.Microsecond))
	return err
}

// span returns the parameters of a range of the last days, and more.
func (b *seriesBench) span(days int, more string) string {
	return "start=" +
		url.QueryEscape(b.end.Add(-time.Duration(days)*24*time.Hour).Format(time.RFC3339)) +
		"&end=" + url.QueryEscape(b.end.Format(time.RFC3339)) + more
}

// queries runs every query repeatedly, and the same in plain SQL once.
func (b *seriesBench) queries(ctx context.Context) error {
	days := b.o.days
	const some = "&agg=avg&agg=min&agg=max"
	aggregates := func(unit, sensors string, days int) string {
		return fmt.Sprintf(`SELECT sensor_id, date_trunc('%s', timestamp) t, avg(value), min(value),
			max(value) FROM sensor_data
			WHERE sensor_id IN (%s) AND timestamp >= '%s' AND timestamp < '%s'
			GROUP BY 1, 2`, unit, sensors,
			b.end.Add(-time.Duration(days)*24*time.Hour).Format(time.RFC3339),
			b.end.Format(time.RFC3339))
	}
	ten, tenIDs := "", "1"
	for i := range denseSensors {
		ten += fmt.Sprintf("&sensor_id=%d", i+1)
		tenIDs += fmt.Sprintf(", %d", i+1)
	}
	now := time.Now()
	untilNow := "start=" + url.QueryEscape(now.Add(-24*time.Hour).Format(time.RFC3339)) + "&end=" +
		url.QueryEscape(now.Format(time.RFC3339))
	fmt.Printf("\n%-48s %9s %9s %9s %8s %12s   %s\n", "query, by HTTP", "cold", "p50", "p99",
		"rows", "rows/s", "the same in plain SQL on the readings, once")
	return b.incoming(ctx, func() error {
		for _, q := range []struct {
			title, path string
			rows        int
			sql         string
		}{
			{
				"latest of 1,000 sensors", "latest?limit=1000", 1000,
				`SELECT DISTINCT ON (sensor_id) * FROM sensor_data
					ORDER BY sensor_id, timestamp DESC`,
			},
			{
				"a day by the minute", "history?sensor_id=1&interval=1m&" + b.span(1, some), 1440,
				aggregates("minute", "1", 1),
			},
			{
				"a day by the minute, until now",
				"history?sensor_id=1&interval=1m&" + untilNow + some, 0, "",
			},
			{
				fmt.Sprintf("%d days by the hour", days),
				"history?sensor_id=1&interval=1h&" + b.span(days, some), 24 * days,
				aggregates("hour", "1", days),
			},
			{
				fmt.Sprintf("%d days by the hour, time-weighted", days),
				"history?sensor_id=1&interval=1h&agg=time_weighted_avg&" + b.span(days, ""),
				24 * days, "",
			},
			{
				fmt.Sprintf("%d days by the day in Berlin", days),
				"history?sensor_id=1&interval=1d&timezone=Europe/Berlin&" + b.span(days, some),
				days, "",
			},
			{
				fmt.Sprintf("10 sensors, %d days by the hour", days),
				"history?interval=1h&" + b.span(days, some) + ten, 240 * days,
				aggregates("hour", tenIDs, days),
			},
			{
				"the same as columns",
				"history?format=columns&interval=1h&" + b.span(days, some) + ten, 240 * days, "",
			},
			{
				"1,000 readings", "?sensor_id=1&limit=1000&" + b.span(1, ""), 1000,
				`SELECT * FROM sensor_data WHERE sensor_id = 1 ORDER BY timestamp DESC LIMIT 1000`,
			},
			{
				fmt.Sprintf("statistics of %d days, with percentiles", days),
				"statistics?sensor_id=1&" + b.span(days, ""), 1,
				strings.Replace(aggregates("year", "1", days), "max(value)",
					"max(value), stddev(value), percentile_cont(ARRAY[0.05, 0.5, 0.95]) WITHIN "+
						"GROUP (ORDER BY value)", 1),
			},
			{
				fmt.Sprintf("the same by the day in Kolkata, %d days", days),
				"statistics?sensor_id=1&interval=1d&timezone=Asia/Kolkata&" + b.span(days, ""),
				days, "",
			},
		} {
			path := "/api/data/" + q.path
			if q.path[0] == '?' {
				path = "/api/data" + q.path
			}
			if err := b.ask(ctx, q.title, path, q.rows, q.sql); err != nil {
				return fmt.Errorf("%s: %w", q.title, err)
			}
		}
		return nil
	})
}

// ask measures one query and prints a line.
func (b *seriesBench) ask(ctx context.Context, title, path string, rows int, plain string) error {
	cold, err := b.timed(ctx, b.token, path)
	if err != nil {
		fmt.Printf("%-48s %v\n", title, err)
		return nil
	}
	var times []time.Duration
	var all time.Duration
	for all < b.o.duration && len(times) < maxQueries {
		d, err := b.timed(ctx, b.token, path)
		if err != nil {
			return err
		}
		times = append(times, d)
		all += d
	}
	slices.Sort(times)
	line := fmt.Sprintf("%-48s %9s %9s %9s %8d %12.0f", title, ms(cold), ms(times[len(times)/2]),
		ms(times[len(times)*99/100]), rows,
		float64(rows*len(times))/all.Seconds())
	if plain != "" {
		begin := time.Now()
		if _, err := b.db.ExecContext(ctx, plain); err != nil {
			return err
		}
		line += "   " + ms(time.Since(begin))
	}
	fmt.Println(line)
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// export exports two sensors in each format.
func (b *seriesBench) export(ctx context.Context) error {
	fmt.Println("\nexport of two sensors")
	rows := float64(2 * b.o.days * 86400)
	return b.incoming(ctx, func() error {
		for _, format := range []string{"csv", "ndjson", "parquet"} {
			b.usage() // resets the peak
			begin := time.Now()
			n, err := b.read(ctx,
				"/api/data/export?sensor_id=1&sensor_id=2&format="+format+"&end="+url.QueryEscape(
					b.end.Format(time.RFC3339),
				))
			if err != nil {
				return err
			}
			took := time.Since(begin)
			fmt.Printf("  %-10s %8.0f rows/s, %5.1f bytes a row, service at most %d MiB\n", format,
				rows/took.Seconds(), float64(n)/rows, b.usage().peak>>20)
		}
		return nil
	})
}

// expensive compares ingest alone with ingest during the most expensive queries, without pauses.
func (b *seriesBench) expensive(ctx context.Context) error {
	day := b.end.Add(-24 * time.Hour)
	fine := "start=" + url.QueryEscape(day.Format(time.RFC3339)) + "&end=" +
		url.QueryEscape(b.end.Format(time.RFC3339))
	asked := []string{
		"statistics?interval=30m&sensor_id=1&" + b.span(min(b.o.days, 10), ""), // of readings
		"history?interval=10s&agg=time_weighted_avg&" +
			"sensor_id=2&sensor_id=3&sensor_id=4&sensor_id=5&" + fine,
		"history?interval=1h&agg=first&agg=stddev&" + b.span(b.o.days,
			"&sensor_id=6&sensor_id=7&sensor_id=8&sensor_id=9&sensor_id=10"),
		"export?format=csv&sensor_id=1&sensor_id=2&end=" +
			url.QueryEscape(b.end.Format(time.RFC3339)),
	}
	for _, clients := range []int{0, 1, len(asked), 0} {
		fmt.Printf("\n%d clients with expensive queries\n", clients)
		err := b.incoming(ctx, func() error {
			ctx, cancel := context.WithTimeout(ctx, 2*b.o.duration)
			defer cancel()
			var wg sync.WaitGroup
			for n := range clients {
				wg.Go(func() {
					answers, refused := 0, 0
					for i := n; ctx.Err() == nil; i++ {
						if clients > 1 {
							i = n // each its own
						}
						if _, err := b.read(ctx, "/api/data/"+asked[i%len(asked)]); err != nil {
							refused++
							continue
						}
						answers++
					}
					fmt.Printf("  client %d: %d answers, %d refused or cut off\n", n, answers,
						refused)
				})
			}
			<-ctx.Done()
			wg.Wait()
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// read reads an answer and returns its size.
func (b *seriesBench) read(ctx context.Context, path string) (int64, error) {
	res, err := b.get(ctx, b.token, path)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return io.Copy(io.Discard, bufio.NewReaderSize(res.Body, 1<<20))
}

func (s *service) get(ctx context.Context, token, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.api+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"Authorization": {"Bearer " + token}, "Accept-Encoding": {"identity"}}
	res, err := http.DefaultClient.Do(req)
	if err == nil && res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		return nil, fmt.Errorf("%d: %s", res.StatusCode, body)
	}
	return res, err
}

func (s *service) timed(ctx context.Context, token, path string) (time.Duration, error) {
	begin := time.Now()
	res, err := s.get(ctx, token, path)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return time.Since(begin), err
}
