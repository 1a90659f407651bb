package oei

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// ExportedReading is a reading of an export. The members after the reading are set when
// ExportReadingsParams.Include asks for the sensor.
type ExportedReading struct {
	Reading
	SensorKey  string `json:"sensor_key"`
	SensorName string `json:"sensor_name"`
	Unit       string `json:"unit"`
}

// Export ranges over the stored readings of sensors, of any number, ordered by sensor id, then by
// time. When the connection breaks it continues after the last reading, so that none is missing and
// none comes twice. An error is the last element.
//
// It calls exportReadings; [Client.ExportReadings] gives the same as a CSV or Parquet file. It
// needs the role viewer.
func (c *Client) Export(
	ctx context.Context, params ExportReadingsParams,
) iter.Seq2[ExportedReading, error] {
	return func(yield func(ExportedReading, error) bool) {
		params := params
		params.Format = new(ExportFormatNdjson)
		for failures := 0; ; {
			rows, stopped, err := c.exportPart(ctx, &params, yield)
			if stopped || err == nil {
				return
			}
			if rows > 0 {
				failures = 0
			}
			failures++
			var broken *brokenExportError
			if !errors.As(err, &broken) || ctx.Err() != nil || failures > c.retries ||
				!wait(ctx, delay(failures, nil)) {
				yield(ExportedReading{}, err)
				return
			}
		}
	}
}

// brokenExportError says that an export was cut off.
type brokenExportError struct{ cause error }

func (e *brokenExportError) Error() string {
	return fmt.Sprintf("oei: exportReadings: the answer was cut off: %v", e.cause)
}

func (e *brokenExportError) Unwrap() error { return e.cause }

// exportPart yields readings until the export ends or breaks, and moves params.After.
func (c *Client) exportPart(
	ctx context.Context, params *ExportReadingsParams, yield func(ExportedReading, error) bool,
) (rows int, stopped bool, _ error) {
	body, err := c.ExportReadings(ctx, *params)
	if err != nil {
		return 0, false, err
	}
	defer body.Close()
	lines := bufio.NewReader(body)
	for {
		line, err := lines.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return rows, false, nil
		case err != nil:
			return rows, false, &brokenExportError{err}
		}
		var reading ExportedReading
		if err := json.Unmarshal(line, &reading); err != nil {
			return rows, false, fmt.Errorf("oei: exportReadings: %w", err)
		}
		rows++
		params.After = new(fmt.Sprintf("%d@%s", reading.SensorID,
			reading.Timestamp.UTC().Format(time.RFC3339Nano)))
		if !yield(reading, nil) {
			return rows, true, nil
		}
	}
}
