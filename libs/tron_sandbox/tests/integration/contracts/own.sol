// SPDX-License-Identifier: MIT
// A contract as a user of the sandbox would write it, for a compiler of today: compile.js writes own.json.
pragma solidity ^0.8.28;

contract Child {
    uint256 public given;
    constructor(uint256 given_) payable { given = given_; }
    function end(address payable heir) external { selfdestruct(heir); }
}

contract Own {
    struct Pair { uint256 left; string right; }

    error TooSmall(uint256 wanted, uint256 had);
    event Stored(address indexed who, uint256 value, string note);

    uint256 public value;
    address public immutable maker;
    Child public child;

    constructor(uint256 value_) payable { value = value_; maker = msg.sender; }
    receive() external payable {}

    function store(uint256 value_, string calldata note) external payable returns (Pair memory) {
        value = value_;
        emit Stored(msg.sender, value_, note);
        return Pair(value_, note);
    }
    function pair() external view returns (Pair memory) { return Pair(value, "kept"); }
    function atLeast(uint256 wanted) external { if (value < wanted) revert TooSmall(wanted, value); }
    function halve(uint256 by) external returns (uint256) { return value / by; }
    function spin() external { while (true) {} }
    function here() external view returns (uint256, uint256, uint256, uint256, bytes32) {
        return (block.number, block.timestamp, address(this).balance, block.chainid, blockhash(block.number - 1));
    }
    function shift(uint256 by) external pure returns (uint256) { return (type(uint256).max >> by) << by; }
    function bear(bytes32 salt) external payable {
        child = salt == 0 ? new Child{value: msg.value}(7) : new Child{value: msg.value, salt: salt}(8);
    }
    function endChild(address payable heir) external { child.end(heir); }
}
