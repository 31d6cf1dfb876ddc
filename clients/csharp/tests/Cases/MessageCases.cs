using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Threading.Tasks;
using Musecast.Messages;

namespace Musecast.Tests
{
    /// <summary>The public bytes that the Python tests read, too.</summary>
    public static class MessageCases
    {
        public static Task EveryGoldenMessageIsReadAndWrittenToTheSameBytes()
        {
            var entries = (List<object?>)Json.Read(File.ReadAllBytes(Golden()))!;
            Check.That(entries.Count >= 30, "there are golden messages");
            foreach (var entry in entries.OfType<Map>())
            {
                var (name, value, bytes) = (entry.Text("name")!, Bytes(entry["value"]), Unhex(entry.Text("bytes")!));
                Check.Equal(Hex(bytes), Hex(MessagePack.Write(value)), name);
                Check.Equal(Hex(bytes), Hex(MessagePack.Write(MessagePack.Read(bytes))), name + ", read and written again");
                Check.Equal(Show(value), Show(MessagePack.Read(bytes)), name + ", read");
            }

            return Task.CompletedTask;
        }

        public static Task GoldenSegmentsAndEventsHaveTheirNames()
        {
            var all = ((List<object?>)Json.Read(File.ReadAllBytes(Golden()))!).OfType<Map>()
                .ToDictionary(one => one.Text("name")!, one => MessagePack.ReadMap(Unhex(one.Text("bytes")!)));
            var late = (Segment)Published.Of(all["segment media late in a session"], new byte[] { 1 })!;
            Check.Equal((70000L, 300L, 22400000000L, 320000L, 200), (late.Seq, late.Gen, late.Pts, late.Dur, late.Turn), "a segment");
            Check.Equal(320000L, late.Keep, "what counts of it");
            Check.That(!late.Intact, "a payload that is another one is noticed");
            Check.That(((Segment)Published.Of(all["segment init"], new byte[0])!).IsInit, "the beginning");
            var cut = (SessionEvent)Published.Of(all["event turn.interrupted"], new byte[0])!;
            Check.Equal((10L, "turn.interrupted", 1280000L, true), (cut.N, cut.Name, cut.Data.Integer("flush_from") ?? -1, cut.EndsTurn), "an event");
            Check.Equal(1764512345678901234L, late.Header.Integer("sent_ns") ?? 0, "a number of 64 bits");
            return Task.CompletedTask;
        }

        public static Task WhatIsNoMessageIsRefused()
        {
            foreach (var bad in new[] { "", "81", "c1", "92c0", "dd7fffffff", "c6ffffffff00", "a2c328", "c0c0", "8101c0" })
            {
                try
                {
                    MessagePack.Read(Unhex(bad));
                }
                catch (FormatException)
                {
                    continue;
                }

                throw new InvalidOperationException(bad + " was read");
            }

            var deep = Enumerable.Repeat((byte)0x91, 100_000).Append((byte)0xc0).ToArray();
            return Check.Throws<FormatException>(() => Task.Run(() => MessagePack.Read(deep)));
        }

        public static Task JsonKeepsEveryValue()
        {
            var map = new Map
            {
                { "text", "\"quoted\" \\ / 好 \u2028 \t" }, { "yes", true }, { "none", null }, { "whole", 9007199254740993L },
                { "part", -0.125 }, { "list", new List<object?> { 1L, "a", new Map() } }, { "bytes", new byte[] { 1, 2, 255 } },
            };
            var read = (Map)Json.Read(Json.Write(map))!;
            Check.Same(new byte[] { 1, 2, 255 }, read.Bytes("bytes")!, "bytes");
            map["bytes"] = read["bytes"];
            Check.Equal(Show(map), Show(read), "the map");
            var odd = (Map)Json.Read(System.Text.Encoding.UTF8.GetBytes("{\"lipsync.0\":1,\"1 b/ü\":{\"\":2}}"))!;
            Check.Same(new[] { "lipsync.0", "1 b/ü" }, odd.Select(one => one.Key), "keys that are no XML names");
            return Check.Throws<FormatException>(() => Task.Run(() => Json.Read(new byte[] { (byte)'{' })));
        }

        private static string Golden()
        {
            for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder != null; folder = folder.Parent)
            {
                var file = Path.Combine(folder.FullName, "tests", "wire", "public_golden.json");
                if (File.Exists(file))
                {
                    return file;
                }
            }

            return Case.Setting("MUSECAST_GOLDEN") ?? throw new FileNotFoundException("MUSECAST_GOLDEN does not say where public_golden.json is");
        }

        private static object? Bytes(object? value) => value switch
        {
            Map { Count: 1 } map when map.Has("$bin") => Unhex(map.Text("$bin")!),
            Map map => Copy(map),
            List<object?> list => list.Select(Bytes).ToList(),
            _ => value,
        };

        private static Map Copy(Map map)
        {
            var copy = new Map();
            foreach (var pair in map)
            {
                copy[pair.Key] = Bytes(pair.Value);
            }

            return copy;
        }

        private static string Show(object? value) => value switch
        {
            null => "nil",
            Map map => "{" + string.Join(",", map.Select(one => one.Key + ":" + Show(one.Value))) + "}",
            List<object?> list => "[" + string.Join(",", list.Select(Show)) + "]",
            byte[] bytes => Hex(bytes),
            double number => number.ToString("R", System.Globalization.CultureInfo.InvariantCulture),
            _ => value.GetType().Name + " " + value,
        };

        private static string Hex(byte[] bytes) => BitConverter.ToString(bytes);

        private static byte[] Unhex(string text) =>
            Enumerable.Range(0, text.Length / 2).Select(at => Convert.ToByte(text.Substring(2 * at, 2), 16)).ToArray();
    }
}
