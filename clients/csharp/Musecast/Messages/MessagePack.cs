using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.IO;
using System.Text;

namespace Musecast.Messages
{
    /// <summary>MessagePack as the protocol uses it: nil, bool, int, float, str, bin, array and map with text keys.</summary>
    /// <remarks>Numbers and lengths are written in their shortest form, floats as 64 bits. Extension types do not
    /// occur; they are read as null. A message that is cut short, nested deeper than 64 or followed by more bytes is
    /// a <see cref="FormatException"/>; no length is believed before its bytes are there.</remarks>
    public static class MessagePack
    {
        private const int MaxDepth = 64;
        private static readonly UTF8Encoding Utf8 = new UTF8Encoding(false, true);

        /// <summary>The bytes of a value.</summary>
        /// <exception cref="ArgumentException">A value of a type that the protocol does not have.</exception>
        public static byte[] Write(object? value)
        {
            using var stream = new MemoryStream();
            Write(stream, value, 0);
            return stream.ToArray();
        }

        /// <summary>The value of these bytes.</summary>
        /// <exception cref="FormatException">They are no single message.</exception>
        public static object? Read(ReadOnlySpan<byte> bytes)
        {
            var reader = new Reader(bytes);
            var value = reader.Value(0);
            return reader.AtEnd ? value : throw new FormatException("more bytes follow the message");
        }

        /// <summary>The map of these bytes.</summary>
        /// <exception cref="FormatException">They are no map.</exception>
        public static Map ReadMap(ReadOnlySpan<byte> bytes) =>
            Read(bytes) as Map ?? throw new FormatException("the message is no map");

        private static void Write(Stream to, object? value, int depth)
        {
            if (depth > MaxDepth)
            {
                throw new ArgumentException("nested deeper than " + MaxDepth);
            }

            switch (value)
            {
                case null:
                    to.WriteByte(0xc0);
                    break;
                case bool flag:
                    to.WriteByte((byte)(flag ? 0xc3 : 0xc2));
                    break;
                case int number:
                    WriteInteger(to, number);
                    break;
                case long number:
                    WriteInteger(to, number);
                    break;
                case ulong number when number <= long.MaxValue:
                    WriteInteger(to, (long)number);
                    break;
                case ulong number:
                    WriteNumber(to, 0xcf, number, 8);
                    break;
                case float number:
                    WriteNumber(to, 0xcb, (ulong)BitConverter.DoubleToInt64Bits(number), 8);
                    break;
                case double number:
                    WriteNumber(to, 0xcb, (ulong)BitConverter.DoubleToInt64Bits(number), 8);
                    break;
                case string text:
                    var encoded = Utf8.GetBytes(text);
                    WriteLength(to, encoded.Length, 0xa0, 31, 0xd9, 0xda, 0xdb);
                    to.Write(encoded, 0, encoded.Length);
                    break;
                case byte[] bytes:
                    WriteLength(to, bytes.Length, 0, -1, 0xc4, 0xc5, 0xc6);
                    to.Write(bytes, 0, bytes.Length);
                    break;
                case Map map:
                    WriteLength(to, map.Count, 0x80, 15, 0, 0xde, 0xdf);
                    foreach (var pair in map)
                    {
                        Write(to, pair.Key, depth + 1);
                        Write(to, pair.Value, depth + 1);
                    }

                    break;
                case System.Collections.ICollection list:
                    WriteLength(to, list.Count, 0x90, 15, 0, 0xdc, 0xdd);
                    foreach (var item in list)
                    {
                        Write(to, item, depth + 1);
                    }

                    break;
                default:
                    throw new ArgumentException("the protocol has no " + value.GetType());
            }
        }

        private static void WriteInteger(Stream to, long number)
        {
            if (number >= -32 && number <= 127)
            {
                to.WriteByte(unchecked((byte)number));
            }
            else if (number > 0)
            {
                var (code, size) = number <= 0xff ? (0xcc, 1) : number <= 0xffff ? (0xcd, 2)
                    : number <= 0xffffffff ? (0xce, 4) : (0xcf, 8);
                WriteNumber(to, code, (ulong)number, size);
            }
            else
            {
                var (code, size) = number >= sbyte.MinValue ? (0xd0, 1) : number >= short.MinValue ? (0xd1, 2)
                    : number >= int.MinValue ? (0xd2, 4) : (0xd3, 8);
                WriteNumber(to, code, unchecked((ulong)number), size);
            }
        }

        private static void WriteNumber(Stream to, int code, ulong number, int size)
        {
            to.WriteByte((byte)code);
            for (var shift = 8 * (size - 1); shift >= 0; shift -= 8)
            {
                to.WriteByte((byte)(number >> shift));
            }
        }

        private static void WriteLength(Stream to, int length, int fix, int fixMax, int code8, int code16, int code32)
        {
            if (length <= fixMax)
            {
                to.WriteByte((byte)(fix | length));
            }
            else if (code8 != 0 && length <= 0xff)
            {
                WriteNumber(to, code8, (ulong)length, 1);
            }
            else if (length <= 0xffff)
            {
                WriteNumber(to, code16, (ulong)length, 2);
            }
            else
            {
                WriteNumber(to, code32, (ulong)length, 4);
            }
        }

        private ref struct Reader
        {
            private ReadOnlySpan<byte> _left;

            public Reader(ReadOnlySpan<byte> bytes) => _left = bytes;

            public bool AtEnd => _left.IsEmpty;

            public object? Value(int depth)
            {
                if (depth > MaxDepth)
                {
                    throw new FormatException("nested deeper than " + MaxDepth);
                }

                var code = Take(1)[0];
                if (code <= 0x7f || code >= 0xe0)
                {
                    return (long)unchecked((sbyte)code);
                }

                if (code <= 0x8f)
                {
                    return Entries(code & 0x0f, depth);
                }

                if (code <= 0x9f)
                {
                    return Elements(code & 0x0f, depth);
                }

                return code <= 0xbf ? Text(code & 0x1f) : Coded(code, depth);
            }

            private object? Coded(byte code, int depth)
            {
                switch (code)
                {
                    case 0xc0: return null;
                    case 0xc2: return false;
                    case 0xc3: return true;
                    case 0xc4: return Take(Length(1)).ToArray();
                    case 0xc5: return Take(Length(2)).ToArray();
                    case 0xc6: return Take(Length(4)).ToArray();
                    case 0xc7: return Skip(Length(1) + 1);
                    case 0xc8: return Skip(Length(2) + 1);
                    case 0xc9: return Skip(Length(4) + 1);
                    case 0xca: return (double)BitConverter.Int32BitsToSingle(BinaryPrimitives.ReadInt32BigEndian(Take(4)));
                    case 0xcb: return BitConverter.Int64BitsToDouble(BinaryPrimitives.ReadInt64BigEndian(Take(8)));
                    case 0xcc: return (long)Take(1)[0];
                    case 0xcd: return (long)BinaryPrimitives.ReadUInt16BigEndian(Take(2));
                    case 0xce: return (long)BinaryPrimitives.ReadUInt32BigEndian(Take(4));
                    case 0xcf:
                        var large = BinaryPrimitives.ReadUInt64BigEndian(Take(8));
                        return large <= long.MaxValue ? (object)(long)large : large;
                    case 0xd0: return (long)unchecked((sbyte)Take(1)[0]);
                    case 0xd1: return (long)BinaryPrimitives.ReadInt16BigEndian(Take(2));
                    case 0xd2: return (long)BinaryPrimitives.ReadInt32BigEndian(Take(4));
                    case 0xd3: return BinaryPrimitives.ReadInt64BigEndian(Take(8));
                    case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return Skip((1 << (code - 0xd4)) + 1);
                    case 0xd9: return Text(Length(1));
                    case 0xda: return Text(Length(2));
                    case 0xdb: return Text(Length(4));
                    case 0xdc: return Elements(Length(2), depth);
                    case 0xdd: return Elements(Length(4), depth);
                    case 0xde: return Entries(Length(2), depth);
                    case 0xdf: return Entries(Length(4), depth);
                    default: throw new FormatException("0x" + code.ToString("x2") + " begins nothing");
                }
            }

            private ReadOnlySpan<byte> Take(int count)
            {
                if (count < 0 || count > _left.Length)
                {
                    throw new FormatException("the message is cut short");
                }

                var taken = _left.Slice(0, count);
                _left = _left.Slice(count);
                return taken;
            }

            private object? Skip(int count)
            {
                Take(count);
                return null;
            }

            private int Length(int size)
            {
                uint length = 0;
                foreach (var one in Take(size))
                {
                    length = (length << 8) | one;
                }

                // Every element has a byte at least.
                return length <= _left.Length ? (int)length : throw new FormatException("the message is cut short");
            }

            private string Text(int length)
            {
                try
                {
                    return Utf8.GetString(Take(length));
                }
                catch (DecoderFallbackException error)
                {
                    throw new FormatException("a text is no UTF-8", error);
                }
            }

            private List<object?> Elements(int count, int depth)
            {
                var list = new List<object?>();
                for (var index = 0; index < count; index++)
                {
                    list.Add(Value(depth + 1));
                }

                return list;
            }

            private Map Entries(int count, int depth)
            {
                var map = new Map();
                for (var index = 0; index < count; index++)
                {
                    var key = Value(depth + 1) as string ?? throw new FormatException("a key is no text");
                    map[key] = Value(depth + 1);
                }

                return map;
            }
        }
    }
}
