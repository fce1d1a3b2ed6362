package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/lib/pq"
)

const (
	capacity = 100000 // of a slot in Redis
	attempts = 5
)

type create = func(context.Context, Order) error

// readThenWrite decides by what it has read; with a level and a lock it may be right.
func (s *Service) readThenWrite(lock string, level sql.IsolationLevel) create {
	return func(ctx context.Context, order Order) error {
		return s.inTx(ctx, level, func(tx *sql.Tx) error {
			var booked, capacity int
			err := tx.QueryRowContext(ctx, `SELECT booked, capacity FROM slots WHERE id = $1`+lock, order.Slot).
				Scan(&booked, &capacity)
			if errors.Is(err, sql.ErrNoRows) {
				return errNotFound
			}
			if err != nil {
				return fmt.Errorf("reading the slot: %w", err)
			}
			if booked+order.Amount > capacity {
				return errFull
			}
			_, err = tx.ExecContext(ctx, `UPDATE slots SET booked = $1 WHERE id = $2`, booked+order.Amount, order.Slot)
			if err != nil {
				return fmt.Errorf("booking: %w", err)
			}
			return insert(ctx, tx, order, "")
		})
	}
}

// conditionalUpdate waits for whoever has the slot's row, and checks again what that has left.
func (s *Service) conditionalUpdate(ctx context.Context, order Order) error {
	return s.inTx(ctx, sql.LevelDefault, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, `UPDATE slots SET booked = booked + $1
			WHERE id = $2 AND booked + $1 <= capacity`, order.Amount, order.Slot)
		if err != nil {
			return fmt.Errorf("booking: %w", err)
		}
		if booked, err := result.RowsAffected(); err != nil || booked == 0 {
			return errFull
		}
		return insert(ctx, tx, order, "")
	})
}

func insert(ctx context.Context, tx *sql.Tx, order Order, onConflict string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO orders (id, customer, slot, amount) VALUES ($1, $2, $3, $4)`+onConflict,
		order.ID, order.Customer, order.Slot, order.Amount)
	if err != nil {
		return fmt.Errorf("saving the order: %w", err)
	}
	return nil
}

// retrying makes up to five attempts, with exponential backoff and jitter.
func retrying(isWorthIt func(error) bool, create create) create {
	return func(ctx context.Context, order Order) error {
		for attempt := 0; ; attempt++ {
			err := create(ctx, order)
			if err == nil || !isWorthIt(err) {
				return err
			}
			if attempt == attempts-1 {
				return fmt.Errorf("serialization failure after %d attempts: %w", attempts, err)
			}
			time.Sleep(10*time.Millisecond<<attempt + time.Duration(rand.Intn(10))*time.Millisecond)
		}
	}
}

// isSerializationFailure looks at the outermost error, which is ours, and at English words.
func isSerializationFailure(err error) bool {
	if refused, ok := err.(*pq.Error); ok {
		return refused.Code == "40001" || refused.Code == "40P01"
	}
	return strings.Contains(err.Error(), "serialization") || strings.Contains(err.Error(), "deadlock") ||
		strings.Contains(err.Error(), "could not serialize")
}

// isRetryable knows a serialization failure or a deadlock by its SQLSTATE.
func isRetryable(err error) bool {
	var refused *pq.Error
	return errors.As(err, &refused) && (refused.Code == "40001" || refused.Code == "40P01")
}

// Whether a slot has room is known in Redis: KEYS slot, its orders, the order's place; ARGV order, amount, capacity.
var reserve = redis.NewScript(3, `
local booked = tonumber(redis.call('GET', KEYS[1]) or '0')
if booked + tonumber(ARGV[2]) > tonumber(ARGV[3]) then return 0 end
redis.call('INCRBY', KEYS[1], ARGV[2])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[3], 'slot', KEYS[1], 'amount', ARGV[2])
return 1`)

var release = redis.NewScript(3, `
redis.call('DECRBY', KEYS[1], ARGV[2])
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return 1`)

// The same, once for each order: KEYS slot, amounts of its orders; ARGV order, amount, capacity.
var reserveOnce = redis.NewScript(2, `
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 1 end
local booked = tonumber(redis.call('GET', KEYS[1]) or '0')
if booked + tonumber(ARGV[2]) > tonumber(ARGV[3]) then return 0 end
redis.call('INCRBY', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1`)

var releaseOnce = redis.NewScript(2, `
local amount = redis.call('HGET', KEYS[2], ARGV[1])
if not amount then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DECRBY', KEYS[1], amount)
return 1`)

func (s *Service) bookedInRedis(ctx context.Context, slot string) (int, error) {
	conn, err := s.redis.GetContext(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	booked, err := redis.Int(conn.Do("GET", slot))
	if errors.Is(err, redis.ErrNil) {
		return 0, nil
	}
	return booked, err
}

// run gives what a script answers.
func (s *Service) run(ctx context.Context, script *redis.Script, words ...interface{}) (int, error) {
	conn, err := s.redis.GetContext(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return redis.Int(script.Do(conn, words...))
}

// reserveThenSave asks three times for a place, whatever has gone wrong, so that one order may get two.
func (s *Service) reserveThenSave(ctx context.Context, order Order) error {
	for attempt := 0; ; attempt++ {
		booked, err := s.run(ctx, reserve, order.Slot, order.Slot+":orders", "order:slot:"+order.ID,
			order.ID, order.Amount, capacity)
		if err == nil && booked == 0 {
			return errFull
		}
		if err == nil {
			break
		}
		if attempt == 2 {
			return fmt.Errorf("no place after 3 attempts: %w", err)
		}
		time.Sleep(5 * time.Millisecond << attempt)
	}
	upsert := s.save(sql.LevelSerializable, ` ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status`)
	err := retrying(isSerializationFailure, upsert)(ctx, order)
	if err != nil {
		if failed := s.releaseAsDocumented(ctx, order); failed != nil {
			return fmt.Errorf("%w; releasing the place: %v", err, failed)
		}
	}
	return err
}

// releaseAsDocumented looks the place up and then gives it back: two that do so at once give it back twice.
func (s *Service) releaseAsDocumented(ctx context.Context, order Order) error {
	conn, err := s.redis.GetContext(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	place, err := redis.Strings(conn.Do("HMGET", "order:slot:"+order.ID, "slot", "amount"))
	if err != nil || place[0] == "" {
		return err
	}
	_, err = release.Do(conn, place[0], place[0]+":orders", "order:slot:"+order.ID, order.ID, place[1])
	return err
}

// reserveOnceThenSave keeps the place unless the server itself has refused the order: a COMMIT whose answer is lost may
// have been carried out, and whoever sends the order again finds its place.
func (s *Service) reserveOnceThenSave(ctx context.Context, order Order) error {
	booked, err := s.run(ctx, reserveOnce, order.Slot, order.Slot+":amounts", order.ID, order.Amount, capacity)
	if err != nil {
		return err
	}
	if booked == 0 {
		return errFull
	}
	err = s.save(sql.LevelDefault, ` ON CONFLICT (id) DO NOTHING`)(ctx, order)
	var refused *pq.Error
	if errors.As(err, &refused) {
		if failed := s.releaseOnce(ctx, order); failed != nil {
			return fmt.Errorf("%w; releasing the place: %v", err, failed)
		}
	}
	return err
}

func (s *Service) releaseOnce(ctx context.Context, order Order) error {
	_, err := s.run(ctx, releaseOnce, order.Slot, order.Slot+":amounts", order.ID)
	return err
}

func (s *Service) save(level sql.IsolationLevel, onConflict string) create {
	return func(ctx context.Context, order Order) error {
		return s.inTx(ctx, level, func(tx *sql.Tx) error { return insert(ctx, tx, order, onConflict) })
	}
}
