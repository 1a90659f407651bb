package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// comparedPairs is how often the two programs are measured in turn.
const comparedPairs = 3

// compare measures ingest with two programs in turn, such as those of two commits, and prints the
// ratios of the second to the first: the median, the smallest and the largest.
func compare(ctx context.Context, o options, programs []string) error {
	if len(programs) != 2 {
		return errors.New("compare: give the flags and then two programs, the old and the new")
	}
	o.rate = cmp.Or(o.rate, 1000)
	scenarios := ingestScenarios(o)
	results := make([][2][]ingestResult, len(scenarios))
	printIngestHead()
	for range comparedPairs {
		for which, program := range programs {
			program, err := filepath.Abs(program)
			if err != nil {
				return err
			}
			fmt.Println(programs[which])
			err = withPlant(ctx, o, program, func(_ string, p plant) error {
				for i, s := range scenarios {
					r, err := measure(ctx, s.title, s.fleet(p, o, i+1), p.service, p.db, p.keys)
					if err != nil {
						return err
					}
					results[i][which] = append(results[i][which], r)
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("%s: %w", programs[which], err)
			}
		}
	}
	fmt.Printf("\n%-44s %20s %20s %20s %20s\n", "new / old, median (range)", "rate",
		"CPU a reading", "p99", "memory")
	for i, s := range scenarios {
		fmt.Printf("%-44s", s.title)
		for _, of := range []func(ingestResult) float64{
			func(r ingestResult) float64 { return r.rate },
			func(r ingestResult) float64 { return r.cpu },
			func(r ingestResult) float64 { return float64(r.p99) / float64(time.Millisecond) },
			func(r ingestResult) float64 { return float64(r.peak) },
		} {
			var ratios []float64
			for n := range comparedPairs {
				ratios = append(ratios, of(results[i][1][n])/of(results[i][0][n]))
			}
			fmt.Printf(" %20s", fmt.Sprintf("%.2f (%.2f–%.2f)", median(ratios), slices.Min(ratios),
				slices.Max(ratios)))
		}
		fmt.Println()
	}
	return nil
}
